/* What a task tells about itself besides its state, gathered until the link's thread sends it: numbers and lines.
 * Any thread may give; a lock of its own, held for copies only, lies below the handle's. */
#ifndef OCC_TELEMETRY_H
#define OCC_TELEMETRY_H

#include <pthread.h>

#include "wire.h"

enum { MAX_LINES = 100, FLUSH_PERIOD_MS = 100 };

/* All samples of one metric since it was last taken. */
struct metric {
    char name[OCC_MAX_NAME_BYTES + 1];
    char unit[OCC_MAX_NAME_BYTES + 1];
    int64_t n; /* 0: none; the name stays */
    double sum, min, max, last;
    int64_t unix_ms;
};

struct samples {
    size_t count;
    struct metric items[OCC_MAX_METRICS];
};

struct line {
    int severity;
    int64_t unix_ms;
    int64_t dropped; /* before this one, in all */
    char text[OCC_MAX_LINE_BYTES + 1];
};

struct telemetry {
    pthread_mutex_t lock;
    int link_fd; /* to wake the link's thread */
    bool told;   /* it knows that something is here */
    bool held;   /* metrics stay here: START is at work, and what it tells is the run's */
    struct samples known;
    unsigned first_line, n_lines;
    int64_t dropped;
    struct line lines[MAX_LINES];
};

void occ_telemetry_open(struct telemetry* telemetry, int link_fd);
void occ_telemetry_close(struct telemetry* telemetry);

/* Hold metrics back, or let them go. */
void occ_telemetry_hold(struct telemetry* telemetry, bool held);

/* Return whether there is something to send now. */
bool occ_telemetry_waits(struct telemetry* telemetry);

/* Take the metrics that have samples; none while they are held, unless `all`. */
void occ_telemetry_take(struct telemetry* telemetry, bool all, struct samples* taken);

/* Put one back that nobody got. */
void occ_telemetry_return(struct telemetry* telemetry, const struct metric* metric);

/* Take the oldest line. Returns false if there is none. */
bool occ_telemetry_line(struct telemetry* telemetry, struct line* line);

#endif
