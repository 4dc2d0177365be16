/* What the link's thread sends: states, answers, numbers and lines. */
#include "link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OUT_BYTES = 2 * OCC_MAX_ERROR_BYTES + 512 /* the longest message that a task sends */ };

static int64_t monotonic_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct occ_text occ_text_of(const char* text) {
    return (struct occ_text){text, strlen(text)};
}

void occ_forget_peer(struct link* link, int peer) {
    link->peers[peer].id_size = 0;
    if (link->holder == peer)
        link->holder = -1;
}

bool occ_tell(struct link* link, int peer, const struct occ_message* message) {
    static const uint8_t version = OCC_WIRE_VERSION;
    uint8_t frame[OUT_BYTES];
    size_t size = sizeof frame;
    if (peer < 0 || occ_wire_encode(message, frame, &size) != 0)
        return false;
    void* socket = link->occ->socket;
    if (zmq_send(socket, link->peers[peer].id, link->peers[peer].id_size, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
        if (errno == EHOSTUNREACH)
            occ_forget_peer(link, peer);
        return false;
    }
    zmq_send(socket, &version, sizeof version, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(socket, frame, size, ZMQ_DONTWAIT);
    return true;
}

static void send_to_all(struct link* link, const struct occ_message* message) {
    for (int peer = 0; peer < MAX_PEERS; peer++)
        if (link->peers[peer].id_size > 0)
            occ_tell(link, peer, message);
}

void occ_tell_refused(struct link* link, int peer, int reason) {
    struct occ_message message = {.kind = OCC_KIND_REFUSED};
    message.refused = (struct occ_refused){reason, occ_text_of(link->name), link->epoch};
    occ_tell(link, peer, &message);
}

void occ_tell_answer(struct link* link, const struct answer* answer) {
    struct occ_message message = {.kind = OCC_KIND_RESULT};
    message.result = (struct occ_result){
        .id = occ_text_of(answer->id),
        .ok = answer->ok,
        .state = answer->state,
        .event = answer->event,
        .trigger = answer->trigger,
        .error = occ_text_of(answer->error),
        .sequence = (int64_t)answer->sequence,
    };
    occ_tell(link, link->holder, &message);
}

/* --- numbers and lines --------------------------------------------------------------------------------------- */

/* Return whether somebody is there to be told. While the controller is away, what is told waits for it. */
static bool has_listener(const struct link* link) {
    if (link->held)
        return link->holder >= 0 && link->peers[link->holder].credit > 0;
    for (int peer = 0; peer < MAX_PEERS; peer++)
        if (link->peers[peer].id_size > 0 && link->peers[peer].credit > 0)
            return true;
    return false;
}

/* Send to all that have credit; return whether the controller got it, or there is none. */
static bool send_telemetry(struct link* link, const struct occ_message* message) {
    bool got = !link->held;
    for (int peer = 0; peer < MAX_PEERS; peer++) {
        bool is_holder = peer == link->holder;
        if (link->peers[peer].id_size == 0 || link->peers[peer].credit == 0)
            continue;
        link->peers[peer].credit--;
        got |= occ_tell(link, peer, message) && is_holder;
    }
    return got;
}

static void send_samples(struct link* link, const struct samples* samples) {
    for (size_t i = 0; i < samples->count; i++) {
        const struct metric* metric = &samples->items[i];
        struct occ_message message = {.kind = OCC_KIND_METRIC};
        message.metric = (struct occ_metric){
            .name = occ_text_of(metric->name),
            .unit = occ_text_of(metric->unit),
            .n = metric->n,
            .sum = metric->sum,
            .min = metric->min,
            .max = metric->max,
            .last = metric->last,
            .unix_ms = metric->unix_ms,
        };
        if (!send_telemetry(link, &message))
            occ_telemetry_return(&link->occ->telemetry, metric);
    }
}

static void send_lines(struct link* link) {
    struct line line;
    while (has_listener(link) && occ_telemetry_line(&link->occ->telemetry, &line)) {
        struct occ_message message = {.kind = OCC_KIND_LOG};
        message.log = (struct occ_log){line.severity, occ_text_of(line.text), line.unix_ms, line.dropped};
        send_telemetry(link, &message);
    }
}

int occ_telemetry_due(struct link* link) {
    if (!has_listener(link) || !occ_telemetry_waits(&link->occ->telemetry))
        return -1;
    int64_t due = link->flushed_ms + FLUSH_PERIOD_MS - monotonic_ms();
    return due > 0 ? (int)due : 0;
}

/* Take the numbers while no note waits: those that were noted before come before, those after come after. */
static bool take_samples(struct link* link, struct samples* samples) {
    occ_t* occ = link->occ;
    pthread_mutex_lock(&occ->lock);
    bool no_notes = occ->n_notes == 0;
    if (no_notes)
        occ_telemetry_take(&occ->telemetry, occ->closing, samples);
    pthread_mutex_unlock(&occ->lock);
    return no_notes;
}

void occ_tell_notes(struct link* link) {
    occ_t* occ = link->occ;
    for (;;) {
        struct answer answer = {.event = 0};
        pthread_mutex_lock(&occ->lock);
        if (occ->n_notes == 0) {
            pthread_mutex_unlock(&occ->lock);
            return;
        }
        struct note note = occ->notes[occ->first_note];
        occ->first_note = (occ->first_note + 1) % MAX_NOTES;
        occ->n_notes--;
        if (note.type == NOTE_ANSWER)
            answer = occ->answers[note.number];
        pthread_cond_signal(&occ->room);
        pthread_mutex_unlock(&occ->lock);
        send_lines(link); /* a failure is better understood after what was said before it */

        struct occ_message message = {.kind = OCC_KIND_STATE_CHANGED};
        switch (note.type) {
        case NOTE_STATE:
            message.state_changed = (struct occ_state_changed){note.number, (int64_t)note.sequence};
            send_to_all(link, &message);
            break;
        case NOTE_HAPPENED:
            message.kind = OCC_KIND_HAPPENED;
            message.happened = (struct occ_happened){note.number, occ_text_of(note.text != NULL ? note.text : "")};
            send_to_all(link, &message);
            free(note.text);
            break;
        case NOTE_METRICS:
            send_samples(link, note.samples);
            free(note.samples);
            break;
        case NOTE_ANSWER:
            occ_tell_answer(link, &answer);
        }
    }
}

void occ_tell_telemetry(struct link* link) {
    struct samples samples;
    while (!take_samples(link, &samples))
        occ_tell_notes(link);
    link->flushed_ms = monotonic_ms();
    send_samples(link, &samples);
    send_lines(link);
}
