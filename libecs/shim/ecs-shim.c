/* ecs-shim FOLDER: be the parent of exactly one task, outlive whoever ordered it, and leave a note of how it ended.
 *
 * It reads FOLDER/spec.bin: entries `key=value`, each ended by a NUL byte, in any order but the first, which says the
 * version of the format:
 *
 *     ecs-shim=1            first
 *     arg=TEXT              once for each argument; the first is the program, looked for in PATH of the environment below
 *     env=NAME=VALUE        once for each variable of the task's environment, which is empty otherwise
 *     cwd=PATH              working directory; default /
 *     user=NAME             or a number; only root may switch. The task gets the user's groups, unless there is group=
 *     group=NAME            or a number; the first is the group, all are the supplementary groups
 *     stdout=PATH           relative to FOLDER; made if absent, appended to; default /dev/null
 *     stderr=PATH           the same; may be the same file
 *     stdout_cap=BYTES      a longer file is cut to its last 4 KiB and a line that says so; default 0, no limit
 *     stderr_cap=BYTES
 *     cgroup=PATH           folder of a control group (version 2) that the task joins; default none
 *     rlimit=NAME:SOFT:HARD as core cpu data fsize memlock nofile nproc rss stack; numbers or "unlimited"
 *     term_s=SECONDS        from SIGTERM to SIGINT when the task is ended; default 2
 *     int_s=SECONDS         from SIGINT to SIGKILL; default 3
 *     orphan_s=SECONDS      how long the task outlives its owner; default -1, for ever
 *
 * An unknown key is an error. Seconds may have decimals.
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
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_SPEC_BYTES = 16 * 1024 * 1024,
    MAX_GROUPS = 256,
    MAX_LIMITS = 16,
    KEPT_BYTES = 4096,
    CAP_FAST_MS = 100,
    CAP_SLOW_MS = 2000,
    SWEEP_MS = 10,
    GIVE_UP_S = 2
};

struct output {
    const char* path;
    uint64_t cap;
    int fd;
    uint64_t dropped; /* bytes of the task's */
    int head;         /* bytes of our line that says so */
    off_t seen;
};

struct limit {
    int resource;
    struct rlimit values;
};

struct spec {
    char** arguments;
    char** environment;
    const char* cwd;
    const char* user;
    const char* cgroup;
    const char* group_names[MAX_GROUPS];
    int n_group_names;
    struct output outputs[2];
    struct limit limits[MAX_LIMITS];
    int n_limits;
    double term_s, int_s, orphan_s;

    bool switches; /* to these: */
    uid_t uid;
    gid_t gid;
    gid_t groups[MAX_GROUPS];
    int n_groups;
};

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

static int64_t now_ms(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- what it writes ------------------------------------------------------------------------------------------ */

static void write_all(int fd, const char* text, size_t size) {
    while (size > 0) {
        ssize_t written = write(fd, text, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return;
        text += written;
        size -= (size_t)written;
    }
}

static int write_file(int folder, const char* name, const char* text) {
    char temporary[32];
    snprintf(temporary, sizeof temporary, "%s.tmp", name);
    int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    write_all(fd, text, strlen(text));
    close(fd);
    return renameat(folder, temporary, folder, name);
}

/* Copy text so that it can stand between quotes in JSON; anything but printable ASCII becomes '?'. */
static const char* json_text(char* to, size_t size, const char* text) {
    size_t used = 0;
    for (; *text != '\0' && used + 2 < size; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            to[used++] = '\\';
        to[used++] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    to[used] = '\0';
    return to;
}

static int write_exit(int folder, int code, int signal, const char* by, const char* cause, long max_rss_kb) {
    char text[1024], safe[768], code_text[16] = "null", signal_text[16] = "null";
    if (code >= 0)
        snprintf(code_text, sizeof code_text, "%d", code);
    if (signal > 0)
        snprintf(signal_text, sizeof signal_text, "%d", signal);
    snprintf(
        text, sizeof text,
        "{\"code\": %s, \"signal\": %s, \"cause\": \"%s\", \"by\": \"%s\", \"at_ms\": %lld, \"max_rss_kb\": %ld}\n",
        code_text, signal_text, json_text(safe, sizeof safe, cause), by, (long long)now_ms(CLOCK_REALTIME), max_rss_kb);
    return write_file(folder, "exit.json", text);
}

/* There will be no task: leave a note, and end. */
static _Noreturn void fail(int folder, int code, const char* format, ...) __attribute__((format(printf, 3, 4)));

static _Noreturn void fail(int folder, int code, const char* format, ...) {
    char cause[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(cause, sizeof cause, format, arguments);
    va_end(arguments);
    if (folder < 0 || write_exit(folder, code, 0, "launch", cause, 0) != 0) {
        fprintf(stderr, "ecs-shim: %s\n", cause);
        exit(1);
    }
    exit(0);
}

/* --- the spec ------------------------------------------------------------------------------------------------ */

static char* read_spec_file(int folder, size_t* size) {
    struct stat status;
    int fd = openat(folder, "spec.bin", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0)
        fail(folder, 126, "cannot read spec.bin: %s", strerror(errno));
    if (status.st_size < 1 || status.st_size > MAX_SPEC_BYTES)
        fail(folder, 126, "spec.bin has %lld bytes", (long long)status.st_size);
    *size = (size_t)status.st_size;
    char* text = malloc(*size);
    if (text == NULL)
        fail(folder, 126, "no memory for spec.bin");
    for (size_t used = 0; used < *size;) {
        ssize_t n = read(fd, text + used, *size - used);
        if (n <= 0)
            fail(folder, 126, "cannot read spec.bin: %s", n < 0 ? strerror(errno) : "it became shorter");
        used += (size_t)n;
    }
    close(fd);
    if (text[*size - 1] != '\0')
        fail(folder, 126, "spec.bin does not end with NUL");
    return text;
}

static double read_seconds(int folder, const char* key, const char* text) {
    char* end;
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !(seconds >= -1 && seconds < 1e9))
        fail(folder, 126, "spec.bin: %s=%s is no number of seconds", key, text);
    return seconds;
}

static uint64_t read_bytes(int folder, const char* key, const char* text) {
    char* end;
    errno = 0;
    unsigned long long bytes = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0)
        fail(folder, 126, "spec.bin: %s=%s is no number of bytes", key, text);
    return bytes;
}

static bool read_limit_value(const char** text, rlim_t* value) {
    static const char unlimited[] = "unlimited";
    if (strncmp(*text, unlimited, sizeof unlimited - 1) == 0) {
        *text += sizeof unlimited - 1;
        *value = RLIM_INFINITY;
        return true;
    }
    char* end;
    *value = strtoull(*text, &end, 10);
    bool is_number = end != *text && **text >= '0' && **text <= '9';
    *text = end;
    return is_number;
}

static void read_limit(int folder, struct spec* spec, const char* text) {
    static const struct {
        const char* name;
        int resource;
    } known[] = {{"as", RLIMIT_AS},         {"core", RLIMIT_CORE},   {"cpu", RLIMIT_CPU},
                 {"data", RLIMIT_DATA},     {"fsize", RLIMIT_FSIZE}, {"memlock", RLIMIT_MEMLOCK},
                 {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC}, {"rss", RLIMIT_RSS},
                 {"stack", RLIMIT_STACK}};
    const char* at = strchr(text, ':');
    for (size_t i = 0; at != NULL && i < sizeof known / sizeof *known; i++) {
        size_t length = (size_t)(at - text);
        if (strlen(known[i].name) != length || strncmp(known[i].name, text, length) != 0)
            continue;
        struct limit* limit = &spec->limits[spec->n_limits];
        limit->resource = known[i].resource;
        at++;
        if (spec->n_limits < MAX_LIMITS && read_limit_value(&at, &limit->values.rlim_cur) && *at++ == ':' &&
            read_limit_value(&at, &limit->values.rlim_max) && *at == '\0') {
            spec->n_limits++;
            return;
        }
        break;
    }
    fail(folder, 126, "spec.bin: rlimit=%s is no NAME:SOFT:HARD", text);
}

static void read_entry(int folder, struct spec* spec, const char* key, char* value, size_t* n_args, size_t* n_env) {
    if (strcmp(key, "arg") == 0)
        spec->arguments[(*n_args)++] = value;
    else if (strcmp(key, "env") == 0)
        spec->environment[(*n_env)++] = value;
    else if (strcmp(key, "cwd") == 0)
        spec->cwd = value;
    else if (strcmp(key, "user") == 0)
        spec->user = value;
    else if (strcmp(key, "group") == 0 && spec->n_group_names < MAX_GROUPS)
        spec->group_names[spec->n_group_names++] = value;
    else if (strcmp(key, "stdout") == 0)
        spec->outputs[0].path = value;
    else if (strcmp(key, "stderr") == 0)
        spec->outputs[1].path = value;
    else if (strcmp(key, "stdout_cap") == 0)
        spec->outputs[0].cap = read_bytes(folder, key, value);
    else if (strcmp(key, "stderr_cap") == 0)
        spec->outputs[1].cap = read_bytes(folder, key, value);
    else if (strcmp(key, "cgroup") == 0)
        spec->cgroup = value;
    else if (strcmp(key, "rlimit") == 0)
        read_limit(folder, spec, value);
    else if (strcmp(key, "term_s") == 0)
        spec->term_s = read_seconds(folder, key, value);
    else if (strcmp(key, "int_s") == 0)
        spec->int_s = read_seconds(folder, key, value);
    else if (strcmp(key, "orphan_s") == 0)
        spec->orphan_s = read_seconds(folder, key, value);
    else
        fail(folder, 126, "spec.bin: unknown or too frequent key %s", key);
}

static void read_spec(int folder, struct spec* spec) {
    size_t size, n_entries = 0, n_args = 0, n_env = 0;
    char* text = read_spec_file(folder, &size);
    for (size_t i = 0; i < size; i++)
        n_entries += text[i] == '\0';
    *spec = (struct spec){.cwd = "/", .term_s = 2, .int_s = 3, .orphan_s = -1};
    spec->outputs[0].path = spec->outputs[1].path = "/dev/null";
    spec->arguments = calloc(n_entries + 1, sizeof *spec->arguments);
    spec->environment = calloc(n_entries + 1, sizeof *spec->environment);
    if (spec->arguments == NULL || spec->environment == NULL)
        fail(folder, 126, "no memory for spec.bin");
    if (strcmp(text, "ecs-shim=1") != 0)
        fail(folder, 126, "spec.bin is not of version 1");
    for (char* entry = text + strlen(text) + 1; entry < text + size; entry += strlen(entry) + 1) {
        char* value = strchr(entry, '=');
        if (value == NULL)
            fail(folder, 126, "spec.bin: %s is no key=value", entry);
        *value++ = '\0';
        read_entry(folder, spec, entry, value, &n_args, &n_env);
        entry = value; /* strlen(entry) above then counts to the end of this entry */
    }
    if (n_args == 0)
        fail(folder, 126, "spec.bin names no program");
}

/* --- user and groups ----------------------------------------------------------------------------------------- */

static bool read_id(const char* text, unsigned long* id) {
    char* end;
    *id = strtoul(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0';
}

static void find_user(int folder, struct spec* spec) {
    unsigned long id;
    if (spec->user == NULL && spec->n_group_names == 0)
        return;
    bool is_root = geteuid() == 0;
    spec->uid = geteuid();
    spec->gid = getegid();
    if (spec->user != NULL) {
        struct passwd* entry = read_id(spec->user, &id) ? getpwuid((uid_t)id) : getpwnam(spec->user);
        if (entry == NULL)
            fail(folder, 126, "unknown user %s", spec->user);
        spec->uid = entry->pw_uid;
        spec->gid = entry->pw_gid;
        spec->n_groups = MAX_GROUPS;
        if (is_root && getgrouplist(entry->pw_name, entry->pw_gid, spec->groups, &spec->n_groups) < 0)
            fail(folder, 126, "user %s is in more than %d groups", spec->user, MAX_GROUPS);
    }
    if (spec->n_group_names > 0)
        spec->n_groups = 0;
    for (int i = 0; i < spec->n_group_names; i++) {
        struct group* entry = read_id(spec->group_names[i], &id) ? getgrgid((gid_t)id) : getgrnam(spec->group_names[i]);
        if (entry == NULL)
            fail(folder, 126, "unknown group %s", spec->group_names[i]);
        spec->groups[spec->n_groups++] = entry->gr_gid;
        if (i == 0)
            spec->gid = entry->gr_gid;
    }
    if (!is_root && spec->uid == geteuid() && spec->n_group_names == 0)
        return;
    if (!is_root)
        fail(folder, 126, "cannot switch to user %s: only root may", spec->user != NULL ? spec->user : "and groups");
    spec->switches = true;
}

/* --- launching ----------------------------------------------------------------------------------------------- */

static void open_outputs(int folder, struct spec* spec) {
    for (int i = 0; i < 2; i++) {
        struct output* output = &spec->outputs[i];
        output->fd = openat(folder, output->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
        if (output->fd < 0)
            fail(folder, 126, "cannot open %s: %s", output->path, strerror(errno));
        if (spec->switches && output->path[0] != '/' && fchown(output->fd, spec->uid, spec->gid) != 0)
            fail(folder, 126, "cannot give %s to the user: %s", output->path, strerror(errno));
    }
    if (strcmp(spec->outputs[0].path, spec->outputs[1].path) == 0)
        spec->outputs[1].cap = 0; /* one file is cut by one */
}

/* What goes wrong in the child is written here: after vfork, it shares our memory until it runs the program. */
struct mishap {
    const char* what;
    const char* which;
    int number;
};

/* When memory is short, a task goes before its executor does. What was made more likely already stays so. */
static void offer_to_oom_killer(void) {
    static const char more[] = "100";
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, text, sizeof text - 1) > 0 && atoi(text) < atoi(more) && lseek(fd, 0, SEEK_SET) == 0)
        write_all(fd, more, sizeof more - 1);
    close(fd);
}

static bool set_up_child(const struct spec* spec, volatile struct mishap* mishap) {
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigset_t none;
    sigemptyset(&none);
    mishap->which = "";
    mishap->what = "make a session";
    if (setsid() < 0)
        return false;
    mishap->what = "connect its stdin and outputs";
    if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(spec->outputs[0].fd, 1) < 0 || dup2(spec->outputs[1].fd, 2) < 0)
        return false;
    offer_to_oom_killer();
    if (spec->cgroup != NULL) {
        char path[4096];
        mishap->what = "join control group";
        mishap->which = spec->cgroup;
        snprintf(path, sizeof path, "%s/cgroup.procs", spec->cgroup);
        int procs = open(path, O_WRONLY | O_CLOEXEC);
        if (procs < 0 || write(procs, "0", 1) != 1)
            return false;
        close(procs);
        mishap->which = "";
    }
    mishap->what = "set its limits";
    for (int i = 0; i < spec->n_limits; i++)
        if (setrlimit((__rlimit_resource_t)spec->limits[i].resource, &spec->limits[i].values) != 0)
            return false;
    mishap->what = "switch to user";
    mishap->which = spec->user != NULL ? spec->user : "";
    if (spec->switches &&
        (setgroups((size_t)spec->n_groups, spec->groups) != 0 || setresgid(spec->gid, spec->gid, spec->gid) != 0 ||
         setresuid(spec->uid, spec->uid, spec->uid) != 0))
        return false;
    mishap->what = "enter folder";
    mishap->which = spec->cwd;
    if (chdir(spec->cwd) != 0)
        return false;
    mishap->what = "execute";
    mishap->which = spec->arguments[0];
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return true;
}

/* Run the program, looked for in the task's PATH. Unlike execvp this never tries a file of unknown format as a shell
 * script: a program for another machine is to be named as what it is. Returns only on failure, with errno. */
static void execute(const struct spec* spec) {
    const char* name = spec->arguments[0];
    const char* path = "/usr/local/bin:/usr/bin:/bin";
    int error = ENOENT;
    if (strchr(name, '/') != NULL) {
        execve(name, spec->arguments, spec->environment);
        return;
    }
    for (char** variable = spec->environment; *variable != NULL; variable++)
        if (strncmp(*variable, "PATH=", 5) == 0)
            path = *variable + 5;
    while (path != NULL) {
        char file[4096];
        size_t length = strcspn(path, ":");
        if (snprintf(file, sizeof file, "%.*s/%s", length > 0 ? (int)length : 1, length > 0 ? path : ".", name) <
            (int)sizeof file)
            execve(file, spec->arguments, spec->environment);
        if (errno == EACCES)
            error = EACCES; /* there is one, and maybe a better one behind it */
        else if (errno != ENOENT && errno != ENOTDIR)
            return;
        path = path[length] == ':' ? path + length + 1 : NULL;
    }
    errno = error;
}

static void launch(struct shim* shim) {
    static volatile struct mishap mishap;
    struct spec* spec = &shim->spec;
    pid_t child = vfork();
    if (child == 0) {
        if (set_up_child(spec, &mishap))
            execute(spec);
        mishap.number = errno;
        _exit(127);
    }
    if (child < 0)
        fail(shim->folder, 126, "cannot make a process: %s", strerror(errno));
    if (mishap.number != 0) {
        waitpid(child, NULL, 0);
        bool no_program = mishap.number == ENOENT && strcmp(mishap.what, "execute") == 0;
        fail(shim->folder, no_program ? 127 : 126, "cannot %s%s%s: %s", mishap.what, mishap.which[0] != '\0' ? " " : "",
             mishap.which, strerror(mishap.number));
    }
    shim->task = child;
}

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

/* Cut a file that has become too long to its last lines. What the task writes meanwhile may be lost with the rest: so
 * only whole lines are kept, as the end of a last, unfinished one may be among it. (The kernel shows a write that
 * crosses pages page by page: a writer of whole lines has unfinished ones, too.) */
static bool cut_output(struct output* output) {
    char text[KEPT_BYTES + 160];
    struct stat status;
    if (output->cap == 0 || fstat(output->fd, &status) != 0 || !S_ISREG(status.st_mode))
        return false;
    bool grew = status.st_size > output->seen;
    output->seen = status.st_size;
    if ((uint64_t)status.st_size <= output->cap)
        return grew;
    size_t keep = output->cap / 2 < KEPT_BYTES ? (size_t)output->cap / 2 : KEPT_BYTES;
    char kept[KEPT_BYTES];
    ssize_t size = pread(output->fd, kept, keep, status.st_size - (off_t)keep);
    if (size < 0)
        size = 0;
    const char* line = memchr(kept, '\n', (size_t)size);
    size_t skipped = line != NULL && line + 1 < kept + size ? (size_t)(line + 1 - kept) : 0;
    const char* end = memrchr(kept + skipped, '\n', (size_t)size - skipped);
    if (end != NULL)
        size = end + 1 - kept;
    int64_t dropped = (int64_t)status.st_size - output->head - ((int64_t)size - (int64_t)skipped);
    output->dropped += dropped > 0 ? (uint64_t)dropped : 0;
    int head = output->head =
        snprintf(text, 160, "[ecs-shim: more than %llu bytes of output; %llu bytes before this line were dropped]\n",
                 (unsigned long long)output->cap, (unsigned long long)output->dropped);
    memcpy(text + head, kept + skipped, (size_t)size - skipped);
    if (ftruncate(output->fd, 0) == 0)
        write_all(output->fd, text, (size_t)head + (size_t)size - skipped);
    output->seen = 0;
    return true;
}

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
    launch(&shim);
    tell_pid(&shim);
    if (shim.alive >= 0)
        watch_owner(&shim);
    if (shim.spec.outputs[0].cap > 0 || shim.spec.outputs[1].cap > 0)
        cut_outputs(&shim);
    watch(&shim);
    tell_end(&shim);
    return 0;
}
