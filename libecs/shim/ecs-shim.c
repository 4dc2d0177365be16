/* ecs-shim FOLDER: be the parent of exactly one task, outlive whoever ordered it, and leave a note of how it ended.
 *
 * It reads FOLDER/spec.bin, whose format is described in spec.h.
 *
 * It writes, by rename, so that who sees a file sees all of it:
 *
 *     FOLDER/pid            once the program runs: {"shim_pid", "shim_start", "task_pid", "task_start", "boot_id"}; the
 *                           starts are clock ticks since boot as in /proc/PID/stat. The same line goes to the shim's
 *                           stdout, which is closed then: a pipe there tells the launcher that the task runs.
 *     FOLDER/exit.json      at the end: {"code", "signal", "cause", "by", "at_ms", "max_rss_kb"}; code or signal is null,
 *                           or both if it is not known; by is "itself", "order" (SIGTERM to the shim), "orphan", or
 *                           "launch" (there was never a task: code 127 no such program, 126 anything else); at_ms is
 *                           Unix time; max_rss_kb is the most memory that the task had at a time.
 *
 * The owner holds a write end of the FIFO FOLDER/alive, made before the shim starts (not needed if orphan_s is -1). When
 * the last writer is gone, orphan_s begins to run; a new writer stops it.
 *
 * Where memory is short, the kernel is asked to take the task first: its oom_score_adj is at least 100.
 *
 * The task is leader of a session and a process group. It is ended by SIGTERM, SIGINT, SIGKILL to the group, on SIGTERM
 * to the shim, or when orphaned. What is left when it has ended (in its group, or orphans of its making: the shim is a
 * subreaper) has until then if it is being ended, else it is killed at once. The shim itself is one thread, links against
 * libc alone, and holds no pipe of the task: its death does the task no harm. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launch.h"
#include "notes.h"
#include "output.h"
#include "spec.h"

enum { CAP_FAST_MS = 100, CAP_SLOW_MS = 2000, SWEEP_MS = 10, GIVE_UP_S = 2 };

enum stage { RUNS, TERMINATED, INTERRUPTED, KILLED };

struct shim {
    int folder;
    struct spec spec;
    int signals; /* signalfd */
    int alive;   /* -1: not watched */
    pid_t task;
    bool task_ended;
    siginfo_t status;
    long max_rss_kb; /* of the task, once it has ended */
    const char* by;
    enum stage stage;
    int64_t stage_until_ms;
    int64_t next_sweep_ms;   /* 0: none */
    int64_t orphan_until_ms; /* 0: there is an owner */
    int64_t next_cap_ms;     /* 0: no caps */
    int64_t cap_period_ms;
};

/* --- who it is, and whose ------------------------------------------------------------------------------------ */

static unsigned long long start_of(pid_t pid) {
    char path[32], text[1024];
    unsigned long long start = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (size <= 0)
        return 0;
    text[size] = '\0';
    char* at = strrchr(text, ')'); /* the name before it may hold anything; the start is the 20th field behind */
    for (int field = 0; at != NULL && field < 20; field++)
        at = strchr(at + 1, ' ');
    if (at != NULL)
        start = strtoull(at, NULL, 10);
    return start;
}

static void tell_pid(struct shim* shim) {
    char text[256], boot[64] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, boot, sizeof boot - 1);
    if (fd >= 0)
        close(fd);
    boot[size > 0 ? strcspn(boot, "\n") : 0] = '\0';
    snprintf(text, sizeof text,
             "{\"shim_pid\": %d, \"shim_start\": %llu, \"task_pid\": %d, \"task_start\": %llu, \"boot_id\": \"%s\"}\n",
             getpid(), start_of(getpid()), shim->task, start_of(shim->task), boot);
    if (write_file(shim->folder, "pid", text) != 0)
        fprintf(stderr, "ecs-shim: cannot write the file pid: %s\n", strerror(errno));
    write_all(1, text, strlen(text));
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++)
        dup2(nothing, i);
    close(nothing);
}

/* --- the owner ----------------------------------------------------------------------------------------------- */

/* Look whether somebody holds a write end. POLLHUP can't be used for that: it is not reported before the first writer
 * came, and for ever after the last one went. */
static bool has_owner(int alive) {
    char ignored[64];
    ssize_t n;
    while ((n = read(alive, ignored, sizeof ignored)) > 0) {
    }
    return n < 0; /* EAGAIN: nothing to read, but a writer; 0: no writer */
}

static void open_alive(struct shim* shim) {
    int fd = openat(shim->folder, "alive", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && shim->alive < 0)
        fail(shim->folder, 126, "cannot open the FIFO alive: %s", strerror(errno));
    if (shim->alive >= 0)
        close(shim->alive);
    shim->alive = fd; /* -1 if the folder was removed meanwhile: nobody can come back, the timer decides */
}

static void watch_owner(struct shim* shim) {
    if (has_owner(shim->alive)) {
        shim->orphan_until_ms = 0;
        return;
    }
    shim->orphan_until_ms = now_ms(CLOCK_MONOTONIC) + (int64_t)(shim->spec.orphan_s * 1000);
    /* A fresh descriptor reports no hang-up until a new writer has come and gone. That one has come is asked for when the
     * time is over. */
    open_alive(shim);
}

/* --- outputs ------------------------------------------------------------------------------------------------- */

static void cut_outputs(struct shim* shim) {
    bool out = cut_output(&shim->spec.outputs[0]);
    bool err = cut_output(&shim->spec.outputs[1]);
    shim->cap_period_ms = out || err || shim->cap_period_ms == 0 ? CAP_FAST_MS : shim->cap_period_ms * 2;
    if (shim->cap_period_ms > CAP_SLOW_MS)
        shim->cap_period_ms = CAP_SLOW_MS;
    shim->next_cap_ms = now_ms(CLOCK_MONOTONIC) + shim->cap_period_ms;
}

/* --- the end ------------------------------------------------------------------------------------------------- */

/* Read parent, group and session of a process. Returns false if it is gone. */
static bool read_relations(const char* pid, int* parent, int* group, int* session) {
    char path[32], text[512];
    snprintf(path, sizeof path, "/proc/%.10s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (size <= 0)
        return false;
    text[size] = '\0';
    const char* at = strrchr(text, ')');
    return at != NULL && sscanf(at + 1, " %*c %d %d %d", parent, group, session) == 3;
}

/* Signal what is left when the task itself is gone: its group, if somebody is in it, and our other children. */
static void sweep(struct shim* shim, int signal) {
    bool group_lives = false;
    DIR* processes = opendir("/proc");
    if (processes == NULL)
        return;
    for (struct dirent* entry; (entry = readdir(processes)) != NULL;) {
        int parent, group, session;
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9' ||
            !read_relations(entry->d_name, &parent, &group, &session))
            continue;
        if (group == shim->task && session == shim->task)
            group_lives = true;
        else if (parent == getpid())
            kill(atoi(entry->d_name), signal); /* nobody but us reaps it: the number is still its own */
    }
    closedir(processes);
    if (group_lives)
        kill(-shim->task, signal);
}

static void enter(struct shim* shim, enum stage stage) {
    static const int signals[] = {[TERMINATED] = SIGTERM, [INTERRUPTED] = SIGINT, [KILLED] = SIGKILL};
    double lasts_s = stage == TERMINATED ? shim->spec.term_s : stage == INTERRUPTED ? shim->spec.int_s : GIVE_UP_S;
    int64_t now = now_ms(CLOCK_MONOTONIC);
    shim->stage = stage;
    shim->stage_until_ms = now + (int64_t)(lasts_s * 1000);
    shim->next_sweep_ms = stage == KILLED ? now + SWEEP_MS : 0;
    if (shim->task_ended) {
        sweep(shim, signals[stage]);
        return;
    }
    /* The task is not reaped, so its pid, which is the group's number, can't be anybody else's. */
    kill(-shim->task, signals[stage]);
    kill(-shim->task, SIGCONT); /* who is stopped sees no other signal */
}

static void end_task(struct shim* shim, const char* by) {
    if (shim->stage != RUNS)
        return;
    shim->by = by;
    enter(shim, TERMINATED);
}

/* Reap what has ended. Returns true if nothing is left. */
static bool nothing_left(struct shim* shim) {
    siginfo_t info;
    for (;;) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0)
            return errno == ECHILD;
        if (info.si_pid == 0)
            return false;
        if (info.si_pid == shim->task) {
            if (shim->stage == RUNS)
                enter(shim, KILLED); /* before it is reaped: see there */
            shim->task_ended = true;
            shim->status = info;
        }
        struct rusage usage = {0};
        wait4(info.si_pid, NULL, 0, &usage);
        if (info.si_pid == shim->task)
            shim->max_rss_kb = usage.ru_maxrss;
    }
}

static void tell_end(struct shim* shim) {
    char cause[256];
    int code = -1, signal = 0;
    const siginfo_t* status = &shim->status;
    if (!shim->task_ended)
        snprintf(cause, sizeof cause, "it survived SIGKILL for %d s", GIVE_UP_S);
    else if (status->si_code == CLD_EXITED) {
        code = status->si_status;
        snprintf(cause, sizeof cause, "exited with status %d", code);
    } else {
        signal = status->si_status;
        const char* name = sigabbrev_np(signal);
        snprintf(cause, sizeof cause, "killed by SIG%s%s", name != NULL ? name : "?",
                 status->si_code == CLD_DUMPED ? " (core dumped)" : "");
    }
    size_t used = strlen(cause);
    if (strcmp(shim->by, "orphan") == 0)
        snprintf(cause + used, sizeof cause - used, "; ended because its owner was gone for %g s", shim->spec.orphan_s);
    else if (strcmp(shim->by, "order") == 0)
        snprintf(cause + used, sizeof cause - used, "; ended by order");
    write_exit(shim->folder, code, signal, shim->by, cause, shim->max_rss_kb);
}

/* --- the loop ------------------------------------------------------------------------------------------------ */

static void soonest(int64_t* deadline, int64_t other) {
    if (other > 0 && (*deadline == 0 || other < *deadline))
        *deadline = other;
}

static void watch(struct shim* shim) {
    for (;;) {
        if (nothing_left(shim))
            return;
        int64_t deadline = 0, now = now_ms(CLOCK_MONOTONIC);
        if (shim->stage == RUNS) {
            soonest(&deadline, shim->orphan_until_ms);
            soonest(&deadline, shim->next_cap_ms);
        } else
            soonest(&deadline, shim->stage_until_ms);
        soonest(&deadline, shim->next_sweep_ms);
        struct pollfd items[] = {{.fd = shim->signals, .events = POLLIN},
                                 {.fd = shim->stage == RUNS ? shim->alive : -1, .events = POLLIN}};
        poll(items, 2,
             deadline == 0    ? -1
             : deadline > now ? (int)(deadline - now < 3600000 ? deadline - now : 3600000)
                              : 0);

        struct signalfd_siginfo signal;
        while (read(shim->signals, &signal, sizeof signal) == sizeof signal)
            if (signal.ssi_signo == SIGTERM)
                end_task(shim, "order");
        now = now_ms(CLOCK_MONOTONIC);
        if (shim->stage == RUNS) {
            if (items[1].revents != 0)
                watch_owner(shim);
            if (shim->next_cap_ms > 0 && now >= shim->next_cap_ms)
                cut_outputs(shim);
            if (shim->orphan_until_ms > 0 && now >= shim->orphan_until_ms) {
                shim->orphan_until_ms = 0;
                if (shim->alive < 0 || !has_owner(shim->alive))
                    end_task(shim, "orphan");
            }
        } else if (now >= shim->stage_until_ms) {
            if (shim->stage == KILLED)
                return; /* stuck in the kernel: say so rather than wait for ever */
            enter(shim, shim->stage + 1);
        } else if (shim->next_sweep_ms > 0 && now >= shim->next_sweep_ms) {
            sweep(shim, SIGKILL); /* what the killed left behind has become ours */
            shim->next_sweep_ms = now + SWEEP_MS;
        }
    }
}

int main(int argc, char** argv) {
    struct shim shim = {.alive = -1, .by = "itself"};
    if (argc != 2) {
        fprintf(stderr, "usage: ecs-shim FOLDER\n");
        return 2;
    }
    shim.folder = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (shim.folder < 0) {
        fprintf(stderr, "ecs-shim: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    int folder = fcntl(shim.folder, F_DUPFD_CLOEXEC, 3); /* in case that 0 to 2 were closed */
    close(shim.folder);
    shim.folder = folder;
    for (int i = 0; i < 3; i++)
        if (fcntl(i, F_GETFD) < 0)
            open("/dev/null", O_RDWR);
    if (folder != 3)
        dup3(folder, 3, O_CLOEXEC), close(folder), shim.folder = 3;
    syscall(SYS_close_range, 4u, ~0u, 0u); /* nothing of the launcher's goes to the task */
    setsid();                              /* Ctrl-C in the launcher's terminal is not for us; fails for a leader */
    if (chdir("/") != 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        fail(shim.folder, 126, "cannot become a subreaper: %s", strerror(errno));
    /* What our parent ignores we and the task would, too: SIGINT, where a shell has started it in the background. */
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigset_t all, ours;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigemptyset(&ours);
    sigaddset(&ours, SIGCHLD);
    sigaddset(&ours, SIGTERM);
    shim.signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    if (shim.signals < 0)
        fail(shim.folder, 126, "cannot watch signals: %s", strerror(errno));

    read_spec(shim.folder, &shim.spec);
    find_user(shim.folder, &shim.spec);
    open_outputs(shim.folder, &shim.spec);
    if (shim.spec.orphan_s >= 0)
        open_alive(&shim);
    shim.task = launch(shim.folder, &shim.spec);
    tell_pid(&shim);
    if (shim.alive >= 0)
        watch_owner(&shim);
    if (shim.spec.outputs[0].cap > 0 || shim.spec.outputs[1].cap > 0)
        cut_outputs(&shim);
    watch(&shim);
    tell_end(&shim);
    return 0;
}
