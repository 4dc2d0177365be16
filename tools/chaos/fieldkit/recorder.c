/* A task that writes down everything that happens to it, before it answers: what it says is what was done.
 *
 * It appends lines to $ECS_RECORD_DIR/INSTANCE~NODE~TASK, each by one write. What is written outlives every process that
 * is killed; it is not synced to the disk, whose delays would make the task look as if it hung:
 *
 *     UNIX_NS PID WORD [REST]
 *     ... begin TASK_ID BOOT_ID START_TICKS | configure KEY=VALUE ... | start RUN | stop RUN | reset | recover |
 *         reconfigure KEY=VALUE ... | exit | end
 *
 * Two `begin` in one file are one task that was started twice; no `end` is a task that was killed.
 * Properties: value (written down), slow_ms with slow=MOMENT, hang=MOMENT, fail=MOMENT, crash=MOMENT (configure, start,
 * stop, reset), count (end of stream after so many turns of turn_ms, 20), fork=1 (leave a child that ignores signals). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "occ/occ.h"

struct recorder {
    int fd;
    int64_t turns;
};

static void note(struct recorder* recorder, const char* format, ...) __attribute__((format(printf, 2, 3)));

static void note(struct recorder* recorder, const char* format, ...) {
    char line[4096];
    struct timespec now;
    va_list arguments;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    int length = snprintf(line, sizeof line, "%" PRId64 " %d ", ns, (int)getpid());
    va_start(arguments, format);
    length += vsnprintf(line + length, sizeof line - (size_t)length - 1, format, arguments);
    va_end(arguments);
    if ((size_t)length >= sizeof line - 1)
        length = (int)sizeof line - 2;
    line[length++] = '\n';
    if (recorder->fd >= 0 && write(recorder->fd, line, (size_t)length) != length)
        abort(); /* what can't be written down must not happen */
}

static void nap(int64_t ms) {
    struct timespec rest = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR)
        continue;
}

/* Faults on order. */
static int fault(occ_t* occ, const char* moment) {
    int64_t ms = 0;
    if (strcmp(occ_property(occ, "slow", ""), moment) == 0 && occ_property_int(occ, "slow_ms", &ms) == 0)
        nap(ms);
    if (strcmp(occ_property(occ, "crash", ""), moment) == 0)
        abort();
    while (strcmp(occ_property(occ, "hang", ""), moment) == 0)
        nap(1000);
    if (strcmp(occ_property(occ, "fail", ""), moment) == 0)
        return occ_fail(occ, "told to fail in %s", moment);
    return 0;
}

/* The properties that a checker wants to see: value, and where the channels are. */
static void note_properties(occ_t* occ, struct recorder* recorder, const char* word) {
    char text[3500];
    size_t cursor = 0, length = 0;
    const char *key, *value;
    text[0] = '\0';
    while (occ_property_next(occ, &cursor, &key, &value) == 0) {
        size_t size = strlen(key);
        bool wanted = strcmp(key, "value") == 0 || (size > 8 && strcmp(key + size - 8, ".address") == 0);
        if (wanted && length + size + strlen(value) + 3 < sizeof text)
            length += (size_t)snprintf(text + length, sizeof text - length, " %s=%s", key, value);
    }
    note(recorder, "%s%s", word, text);
}

static int configure(occ_t* occ, void* user) {
    int status = fault(occ, "configure");
    if (status == 0)
        note_properties(occ, user, "configure");
    if (status == 0 && strcmp(occ_property(occ, "fork", ""), "1") == 0 && fork() == 0) {
        signal(SIGTERM, SIG_IGN);
        signal(SIGINT, SIG_IGN);
        setsid();
        for (;;)
            nap(1000);
    }
    return status;
}

static int start(occ_t* occ, void* user, uint32_t run) {
    struct recorder* recorder = user;
    int status = fault(occ, "start");
    recorder->turns = 0;
    if (status == 0)
        note(recorder, "start %" PRIu32, run);
    return status;
}

static int stop(occ_t* occ, void* user) {
    int status = fault(occ, "stop");
    if (status == 0)
        note(user, "stop %" PRIu32, occ_run_number(occ));
    return status;
}

static int reset(occ_t* occ, void* user) {
    int status = fault(occ, "reset");
    if (status == 0)
        note(user, "reset");
    return status;
}

static int recover(occ_t* occ, void* user) {
    (void)occ;
    note(user, "recover");
    return 0;
}

static int reconfigure(occ_t* occ, void* user) {
    note_properties(occ, user, "reconfigure");
    return 0;
}

static int leave(occ_t* occ, void* user) {
    (void)occ;
    note(user, "exit");
    return 0;
}

static int iterate_running(occ_t* occ, void* user) {
    struct recorder* recorder = user;
    int64_t turn_ms = 20, count = 0;
    occ_property_int(occ, "turn_ms", &turn_ms);
    occ_property_int(occ, "count", &count);
    if (count > 0 && recorder->turns >= count)
        return OCC_END_OF_STREAM;
    if (!occ_wait(occ, NULL, 0, (int)turn_ms)) {
        recorder->turns++;
        occ_metric(occ, "turns", "", 1);
    }
    return 0;
}

static int64_t start_ticks(void) {
    char text[1024] = "";
    long long ticks = 0;
    FILE* file = fopen("/proc/self/stat", "r");
    if (file == NULL)
        return 0;
    if (fgets(text, sizeof text, file) != NULL && strrchr(text, ')') != NULL)
        sscanf(strrchr(text, ')') + 2, "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lld",
               &ticks);
    fclose(file);
    return ticks;
}

static int open_record(const char* folder, const char* task) {
    char path[512];
    int length = snprintf(path, sizeof path, "%s/", folder);
    snprintf(path + length, sizeof path - (size_t)length, "%s", task);
    for (char* letter = path + length; *letter != '\0'; letter++)
        if (*letter == '/')
            *letter = '~';
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
}

int main(void) {
    static struct recorder recorder;
    const struct occ_callbacks callbacks = {.configure = configure,
                                            .reset = reset,
                                            .recover = recover,
                                            .start = start,
                                            .stop = stop,
                                            .reconfigure = reconfigure,
                                            .exit = leave,
                                            .iterate_running = iterate_running};
    const char *folder = getenv("ECS_RECORD_DIR"), *task = getenv("ECS_TASK_ID");
    char boot[64] = "-";
    FILE* file = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (file != NULL) {
        if (fgets(boot, sizeof boot, file) != NULL)
            boot[strcspn(boot, "\n")] = '\0';
        fclose(file);
    }
    recorder.fd = folder != NULL && task != NULL ? open_record(folder, task) : -1;
    note(&recorder, "begin %s %s %" PRId64, task != NULL ? task : "-", boot, start_ticks());
    occ_t* occ;
    int status = occ_create(&occ, &callbacks, &recorder);
    if (status != 0) {
        fprintf(stderr, "recorder: %s\n", occ_error_text(status));
        return 1;
    }
    status = occ_run(occ);
    note(&recorder, "end");
    occ_destroy(occ);
    return status == 0 ? 0 : 1;
}
