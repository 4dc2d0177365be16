/* A file that takes what the task writes, and does not grow for ever. */
#ifndef ECS_SHIM_OUTPUT_H
#define ECS_SHIM_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct output {
    const char* path;
    uint64_t cap;
    int fd;
    uint64_t dropped; /* bytes of the task's */
    int head;         /* bytes of our line that says so */
    off_t seen;
};

/* Cut the file to its last lines if it is longer than its cap, 0 = none. Returns whether it grows. */
bool cut_output(struct output* output);

#endif
