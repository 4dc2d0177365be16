/* What the shim is to do, as FOLDER/spec.bin says it: entries `key=value`, each ended by a NUL byte, in any order but the
 * first, which says the version of the format:
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
 * An unknown key is an error. Seconds may have decimals. */
#ifndef ECS_SHIM_SPEC_H
#define ECS_SHIM_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "output.h"

enum { MAX_GROUPS = 256, MAX_LIMITS = 16 };

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

/* Read spec.bin of a folder; ends the program by `fail` if it is not good. */
void read_spec(int folder, struct spec* spec);

#endif
