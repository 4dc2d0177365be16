#include "output.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "notes.h"

enum { KEPT_BYTES = 4096 };

/* Cut a file that has become too long to its last lines. What the task writes meanwhile may be lost with the rest: so
 * only whole lines are kept, as the end of a last, unfinished one may be among it. (The kernel shows a write that
 * crosses pages page by page: a writer of whole lines has unfinished ones, too.) */
bool cut_output(struct output* output) {
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
