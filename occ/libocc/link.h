/* What the link's thread knows of its peers, and how it tells them something (tell.c). Only that thread touches it. */
#ifndef OCC_LINK_H
#define OCC_LINK_H

#include "handle.h"

/* Numbers and lines must not fill the queue to a peer that is slow: there is always room for states and answers. */
enum {
    QUEUE_MESSAGES = 4000,
    TELEMETRY_CREDIT = 2000 /* so many between two frames from the peer, who pings once a second */
};

struct peer {
    uint8_t id[255];
    uint8_t id_size; /* 0: the place is free */
    uint64_t heard;
    int credit; /* how many numbers and lines it may still be sent */
};

struct link {
    occ_t* occ;
    struct peer peers[MAX_PEERS];
    uint64_t frames; /* received so far: the clock of `heard` */
    /* The controller. It stays the holder when its connection is gone: it may be about to come back. */
    bool held;
    int holder; /* index of its peer, -1 while it has none */
    int64_t epoch;
    char name[OCC_MAX_ID_BYTES + 1];
    int64_t flushed_ms; /* when numbers and lines were last sent */
    char task[OCC_MAX_ERROR_BYTES + 1];
};

/* Forget a peer; the controller may come back. */
void occ_forget_peer(struct link* link, int peer);

/* Send to one peer, never waiting: what a full queue drops, the next Pong or a repeated question tells again.
 * Returns whether it is on its way. */
bool occ_tell(struct link* link, int peer, const struct occ_message* message);
void occ_tell_refused(struct link* link, int peer, int reason);
void occ_tell_answer(struct link* link, const struct answer* answer);

/* Send what the user's thread has noted. It goes out before the next frame is read, so that an index of an answer holds. */
void occ_tell_notes(struct link* link);

/* Send all notes, numbers and lines. */
void occ_tell_telemetry(struct link* link);

/* Return in how many ms numbers and lines are due, -1 if there are none or nobody to tell. */
int occ_telemetry_due(struct link* link);

/* A text without its terminator; `text` must live as long. */
struct occ_text occ_text_of(const char* text);

#endif
