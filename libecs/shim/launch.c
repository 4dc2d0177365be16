#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "notes.h"

/* --- user and groups ----------------------------------------------------------------------------------------- */

static bool read_id(const char* text, unsigned long* id) {
    char* end;
    *id = strtoul(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0';
}

void find_user(int folder, struct spec* spec) {
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

/* --- the process --------------------------------------------------------------------------------------------- */

void open_outputs(int folder, struct spec* spec) {
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

pid_t launch(int folder, const struct spec* spec) {
    static volatile struct mishap mishap;
    pid_t child = vfork();
    if (child == 0) {
        if (set_up_child(spec, &mishap))
            execute(spec);
        mishap.number = errno;
        _exit(127);
    }
    if (child < 0)
        fail(folder, 126, "cannot make a process: %s", strerror(errno));
    if (mishap.number != 0) {
        waitpid(child, NULL, 0);
        bool no_program = mishap.number == ENOENT && strcmp(mishap.what, "execute") == 0;
        fail(folder, no_program ? 127 : 126, "cannot %s%s%s: %s", mishap.what, mishap.which[0] != '\0' ? " " : "",
             mishap.which, strerror(mishap.number));
    }
    return child;
}
