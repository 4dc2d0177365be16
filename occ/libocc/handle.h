/* What the two threads of a task share.
 *
 * The user's thread (occ.c) runs callbacks and changes the state. The link's thread (link.c) owns the socket and the
 * peers. Between them, under `lock`: at most one command on its way down, and a ring of notes on their way up.
 * Nobody calls out, waits for the network, or runs a callback while it holds the lock. */
#ifndef OCC_HANDLE_H
#define OCC_HANDLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <zmq.h>

#include "properties.h"
#include "telemetry.h"
#include "wire.h"

enum { MAX_PEERS = 16, MAX_NOTES = 64, LAYERS = 3, ENDPOINT_BYTES = 256 };

/* The answer to one Transition, kept to be given again. */
struct answer {
    char id[OCC_MAX_ID_BYTES + 1];
    char error[OCC_MAX_ERROR_BYTES + 1];
    int event;
    int state;
    int trigger;
    uint64_t sequence;
    bool ok;
};

/* The one command that the user's thread works on, or is about to. */
struct command {
    bool busy;   /* from the moment it is taken until its answer is there */
    bool waits;  /* the user's thread has not seen it yet */
    char id[OCC_MAX_ID_BYTES + 1];
    int event;
    int source;
    zmq_msg_t frame; /* holds `arguments`; open while busy */
    struct occ_map arguments;
};

enum note_type { NOTE_STATE, NOTE_ANSWER, NOTE_HAPPENED, NOTE_METRICS };

/* Something to tell the peers, in the order in which it came about. */
struct note {
    enum note_type type;
    int number;        /* a state, an index of answers, an enum occ_device_event_type */
    uint64_t sequence; /* of a state */
    char* text;        /* of what happened; freed by the link, as are samples */
    struct samples* samples;
};

struct occ {
    struct occ_callbacks callbacks;
    void* user;
    char endpoint[ENDPOINT_BYTES];

    pthread_mutex_t lock;
    pthread_cond_t room; /* there is room for a note */
    int state;
    uint64_t sequence; /* number of the last change of state */
    uint32_t run;
    struct command command;
    struct answer answers[OCC_MAX_ANSWERS];
    unsigned answered; /* how many there were in all; the next goes to answers[answered % OCC_MAX_ANSWERS] */
    struct note notes[MAX_NOTES];
    unsigned first_note, n_notes;
    bool closing;

    atomic_uint_fast64_t progress;
    atomic_bool woken;       /* set after wake_fd was written: something waits for the user's thread */
    atomic_bool terminating; /* walk down and return */
    atomic_int interrupts;   /* how often SIGINT came */
    int wake_fd;             /* eventfd: to the user's thread */
    int link_fd;             /* eventfd: to the link's thread */

    struct telemetry telemetry;

    void* context;
    void* socket; /* the link's thread only, once it runs */
    pthread_t thread;

    /* The user's thread only. */
    struct properties* layers[LAYERS]; /* of CONFIGURE, of START, of what came last; the last holds */
    int event; /* whose callback works, 0 if none */
    bool end_of_stream;
    char error[OCC_MAX_ERROR_BYTES + 1];
};

/* link.c */
int occ_link_open(occ_t* occ);
void occ_link_close(occ_t* occ);

/* Tell the link's thread something; the lock is held. Waits while the ring is full. */
void occ_note(occ_t* occ, struct note note);

/* Keep an answer and return its index; the lock is held. */
int occ_keep_answer(occ_t* occ, const char* id, int event, bool ok, int trigger, const char* error);

/* Write into `error` why this command is impossible now, and return true; the lock is held. */
bool occ_refused(const occ_t* occ, int64_t event, int64_t source, char* error);

/* Add one to an eventfd; safe in a signal handler. */
void occ_poke(int fd);

#endif
