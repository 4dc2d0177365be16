#include "handle.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LOG_BYTES = 4 * OCC_MAX_LINE_BYTES }; /* what one occ_log may say in all its lines */

void occ_telemetry_open(struct telemetry* telemetry, int link_fd) {
    pthread_mutex_init(&telemetry->lock, NULL);
    telemetry->link_fd = link_fd;
}

void occ_telemetry_close(struct telemetry* telemetry) {
    pthread_mutex_destroy(&telemetry->lock);
}

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The lock is held. One poke does for all that comes until the link has looked. */
static void tell_link(struct telemetry* telemetry) {
    if (!telemetry->told)
        occ_poke(telemetry->link_fd);
    telemetry->told = true;
}

void occ_telemetry_hold(struct telemetry* telemetry, bool held) {
    pthread_mutex_lock(&telemetry->lock);
    telemetry->held = held;
    if (!held) {
        telemetry->told = false;
        tell_link(telemetry);
    }
    pthread_mutex_unlock(&telemetry->lock);
}

bool occ_telemetry_waits(struct telemetry* telemetry) {
    pthread_mutex_lock(&telemetry->lock);
    bool waits = telemetry->n_lines > 0;
    for (size_t i = 0; i < telemetry->known.count && !waits && !telemetry->held; i++)
        waits = telemetry->known.items[i].n > 0;
    if (!waits)
        telemetry->told = false;
    pthread_mutex_unlock(&telemetry->lock);
    return waits;
}

/* --- metrics --------------------------------------------------------------------------------------------------- */

/* Add the samples of one metric to those of another. */
static void add(struct metric* to, const struct metric* more) {
    bool first = to->n == 0;
    to->sum = first ? more->sum : to->sum + more->sum;
    to->min = first || more->min < to->min ? more->min : to->min;
    to->max = first || more->max > to->max ? more->max : to->max;
    to->n += more->n;
}

static struct metric* find(struct samples* samples, const char* name) {
    for (size_t i = 0; i < samples->count; i++)
        if (strcmp(samples->items[i].name, name) == 0)
            return &samples->items[i];
    return NULL;
}

static bool is_name(const char* text, size_t smallest) {
    size_t size = text != NULL ? strnlen(text, OCC_MAX_NAME_BYTES + 1) : 0;
    if (text == NULL || size < smallest || size > OCC_MAX_NAME_BYTES)
        return false;
    for (size_t i = 0, length; i < size; i += length)
        if ((length = occ_character((const uint8_t*)text + i, size - i)) == 0)
            return false;
    return true;
}

int occ_metric(occ_t* occ, const char* name, const char* unit, double value) {
    if (occ == NULL || !is_name(name, 1) || !is_name(unit, 0))
        return OCC_E_ARGUMENT;
    if (!isfinite(value))
        return OCC_E_VALUE;
    struct telemetry* telemetry = &occ->telemetry;
    const struct metric sample = {.n = 1, .sum = value, .min = value, .max = value};
    int error = 0;
    pthread_mutex_lock(&telemetry->lock);
    struct metric* metric = find(&telemetry->known, name);
    if (metric == NULL && telemetry->known.count < OCC_MAX_METRICS) {
        metric = &telemetry->known.items[telemetry->known.count++];
        *metric = (struct metric){.n = 0};
        strcpy(metric->name, name);
        strcpy(metric->unit, unit);
    }
    if (metric == NULL)
        error = OCC_E_SPACE;
    else {
        add(metric, &sample);
        metric->last = value;
        metric->unix_ms = unix_ms();
        tell_link(telemetry);
    }
    pthread_mutex_unlock(&telemetry->lock);
    return error;
}

void occ_telemetry_take(struct telemetry* telemetry, bool all, struct samples* taken) {
    taken->count = 0;
    pthread_mutex_lock(&telemetry->lock);
    for (size_t i = 0; i < telemetry->known.count && (all || !telemetry->held); i++) {
        struct metric* metric = &telemetry->known.items[i];
        if (metric->n > 0)
            taken->items[taken->count++] = *metric;
        metric->n = 0;
    }
    pthread_mutex_unlock(&telemetry->lock);
}

void occ_telemetry_return(struct telemetry* telemetry, const struct metric* metric) {
    pthread_mutex_lock(&telemetry->lock);
    struct metric* known = find(&telemetry->known, metric->name);
    if (known != NULL) {
        if (known->n == 0) {
            known->last = metric->last;
            known->unix_ms = metric->unix_ms;
        }
        add(known, metric);
    }
    pthread_mutex_unlock(&telemetry->lock);
}

/* --- lines ----------------------------------------------------------------------------------------------------- */

/* The lock is held. The oldest line gives way. */
static void keep_line(struct telemetry* telemetry, int severity, const char* text, size_t size, int64_t at) {
    if (telemetry->n_lines == MAX_LINES) {
        telemetry->first_line = (telemetry->first_line + 1) % MAX_LINES;
        telemetry->n_lines--;
        telemetry->dropped++;
    }
    struct line* line = &telemetry->lines[(telemetry->first_line + telemetry->n_lines++) % MAX_LINES];
    line->severity = severity;
    line->unix_ms = at;
    occ_wire_clean_text(text, size, line->text, sizeof line->text);
}

int occ_log(occ_t* occ, enum occ_severity severity, const char* format, ...) {
    char text[LOG_BYTES];
    if (occ == NULL || severity < OCC_SEVERITY_DEBUG || severity > OCC_SEVERITY_FATAL || format == NULL)
        return OCC_E_ARGUMENT;
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (written < 0)
        return OCC_E_VALUE;
    struct telemetry* telemetry = &occ->telemetry;
    int64_t at = unix_ms();
    pthread_mutex_lock(&telemetry->lock);
    const char* line = text;
    do {
        size_t size = strcspn(line, "\n");
        keep_line(telemetry, severity, line, size, at);
        line += size + (line[size] == '\n');
    } while (*line != '\0');
    tell_link(telemetry);
    pthread_mutex_unlock(&telemetry->lock);
    return 0;
}

bool occ_telemetry_line(struct telemetry* telemetry, struct line* line) {
    pthread_mutex_lock(&telemetry->lock);
    bool there = telemetry->n_lines > 0;
    if (there) {
        *line = telemetry->lines[telemetry->first_line];
        line->dropped = telemetry->dropped;
        telemetry->first_line = (telemetry->first_line + 1) % MAX_LINES;
        telemetry->n_lines--;
    }
    pthread_mutex_unlock(&telemetry->lock);
    return there;
}
