/* The thread that owns the socket: peers, who of them is the controller, and answers. */
#include "link.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { STACK_BYTES = 128 * 1024, FRAMES_A_TURN = 64, LINGER_MS = 1000 };

void occ_poke(int fd) {
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written; /* it fails only when the counter is full: then it is readable already */
}

/* --- peers --------------------------------------------------------------------------------------------------- */

static int find_peer(struct link* link, zmq_msg_t* id) {
    for (int peer = 0; peer < MAX_PEERS; peer++) {
        struct peer* known = &link->peers[peer];
        if (known->id_size > 0 && known->id_size == zmq_msg_size(id) &&
            memcmp(known->id, zmq_msg_data(id), known->id_size) == 0)
            return peer;
    }
    return -1;
}

/* Return the place of this peer; a new one takes a free place, or that of the observer not heard for longest. */
static int add_peer(struct link* link, zmq_msg_t* id) {
    int place = find_peer(link, id);
    if (place >= 0)
        return place;
    for (int peer = 0; peer < MAX_PEERS; peer++) {
        if (link->peers[peer].id_size == 0) {
            place = peer;
            break;
        }
        if (peer != link->holder && (place < 0 || link->peers[peer].heard < link->peers[place].heard))
            place = peer;
    }
    link->peers[place].id_size = (uint8_t)zmq_msg_size(id);
    memcpy(link->peers[place].id, zmq_msg_data(id), zmq_msg_size(id));
    link->peers[place].heard = link->frames;
    link->peers[place].credit = TELEMETRY_CREDIT;
    return place;
}

/* Refuse somebody who is no peer and does not become one. */
static void turn_away(struct link* link, zmq_msg_t* id, int reason) {
    int known = find_peer(link, id);
    int peer = known >= 0 ? known : add_peer(link, id);
    occ_tell_refused(link, peer, reason);
    if (known < 0)
        occ_forget_peer(link, peer);
}

static void on_hello(struct link* link, zmq_msg_t* id, const struct occ_hello* hello) {
    occ_t* occ = link->occ;
    if (hello->name.size > OCC_MAX_ID_BYTES || memchr(hello->name.bytes, '\0', hello->name.size) != NULL)
        return;
    if (hello->version_low > OCC_WIRE_VERSION || hello->version_high < OCC_WIRE_VERSION) {
        turn_away(link, id, OCC_REFUSAL_VERSION);
        return;
    }
    int peer;
    if (hello->role == OCC_PEER_ROLE_CONTROLLER) {
        bool same = link->held && hello->name.size > 0 && strlen(link->name) == hello->name.size &&
                    memcmp(link->name, hello->name.bytes, hello->name.size) == 0;
        if (link->held && hello->epoch < link->epoch) {
            turn_away(link, id, OCC_REFUSAL_STALE);
            return;
        }
        if (link->held && !same && hello->epoch == link->epoch && !hello->steal) {
            turn_away(link, id, OCC_REFUSAL_CONFLICT);
            return;
        }
        peer = add_peer(link, id);
        int former = link->holder;
        link->held = true;
        link->holder = peer;
        link->epoch = hello->epoch;
        memcpy(link->name, hello->name.bytes, hello->name.size);
        link->name[hello->name.size] = '\0';
        if (former >= 0 && former != peer && same)
            occ_forget_peer(link, former); /* it came back by a new connection */
        else if (former >= 0 && former != peer)
            occ_tell_refused(link, former, OCC_REFUSAL_SUPERSEDED); /* it stays as an observer */
    } else {
        peer = add_peer(link, id);
        if (link->holder == peer) { /* it steps back */
            link->held = false;
            link->holder = -1;
        }
    }
    struct occ_message message = {.kind = OCC_KIND_WELCOME};
    pthread_mutex_lock(&occ->lock);
    message.welcome = (struct occ_welcome){
        .version = OCC_WIRE_VERSION,
        .machine = OCC_MACHINE_OCC,
        .state = occ->state,
        .sequence = (int64_t)occ->sequence,
        .pid = getpid(),
        .task = occ_text_of(link->task),
        .run = occ->run,
    };
    pthread_mutex_unlock(&occ->lock);
    occ_tell(link, peer, &message);
}

/* --- commands ------------------------------------------------------------------------------------------------ */

static bool allows(const occ_t* occ, size_t event) {
    return occ_next[occ->state][event] != OCC_STATE_UNKNOWN &&
           (event != OCC_EVENT_RECONFIGURE || occ->callbacks.reconfigure != NULL);
}

static void name_allowed(const occ_t* occ, char* text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t event = 1; event < sizeof occ_event_names / sizeof *occ_event_names; event++)
        if (allows(occ, event) && used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", occ_event_names[event]);
    if (used == 0)
        snprintf(text, size, "nothing");
}

bool occ_refused(const occ_t* occ, int64_t event, int64_t source, char* error) {
    const int n_events = sizeof occ_event_names / sizeof *occ_event_names;
    const char* state = occ_state_text(occ->state);
    if (event < 1 || event >= n_events) {
        snprintf(error, OCC_MAX_ERROR_BYTES, "there is no event %lld", (long long)event);
        return true;
    }
    if (source != occ->state) {
        const char* told = source >= 0 && source <= INT_MAX ? occ_state_text((int)source) : "?";
        snprintf(error, OCC_MAX_ERROR_BYTES, "%s was ordered from %s, but the state is %s", occ_event_names[event],
                 told, state);
        return true;
    }
    if (occ_next[occ->state][event] == OCC_STATE_UNKNOWN) {
        char allowed[256];
        name_allowed(occ, allowed, sizeof allowed);
        snprintf(error, OCC_MAX_ERROR_BYTES, "%s not possible in %s (allowed: %s)", occ_event_names[event], state,
                 allowed);
        return true;
    }
    if (!allows(occ, (size_t)event)) {
        snprintf(error, OCC_MAX_ERROR_BYTES, "the task does not reconfigure live");
        return true;
    }
    return false;
}

int occ_keep_answer(occ_t* occ, const char* id, int event, bool ok, int trigger, const char* error) {
    int index = (int)(occ->answered++ % OCC_MAX_ANSWERS);
    struct answer* answer = &occ->answers[index];
    *answer =
        (struct answer){.event = event, .state = occ->state, .trigger = trigger, .sequence = occ->sequence, .ok = ok};
    snprintf(answer->id, sizeof answer->id, "%s", id);
    snprintf(answer->error, sizeof answer->error, "%s", error);
    return index;
}

static const struct answer* find_answer(const occ_t* occ, const char* id) {
    unsigned kept = occ->answered < OCC_MAX_ANSWERS ? occ->answered : OCC_MAX_ANSWERS;
    for (unsigned i = 0; i < kept; i++)
        if (strcmp(occ->answers[i].id, id) == 0)
            return &occ->answers[i];
    return NULL;
}

static void on_transition(struct link* link, int peer, const struct occ_transition* transition, zmq_msg_t* frame) {
    occ_t* occ = link->occ;
    char id[OCC_MAX_ID_BYTES + 1];
    char error[OCC_MAX_ERROR_BYTES + 1];
    if (peer != link->holder) {
        occ_tell_refused(link, peer, OCC_REFUSAL_NOT_CONTROLLER);
        return;
    }
    if (transition->id.size > OCC_MAX_ID_BYTES || memchr(transition->id.bytes, '\0', transition->id.size) != NULL)
        return;
    memcpy(id, transition->id.bytes, transition->id.size);
    id[transition->id.size] = '\0';

    struct answer answer;
    bool answers_now = true;
    pthread_mutex_lock(&occ->lock);
    struct command* command = &occ->command;
    const struct answer* known = find_answer(occ, id);
    if (known != NULL) {
        answer = *known;
    } else if (command->busy && strcmp(command->id, id) == 0) {
        answers_now = false; /* it is answered when it ends */
    } else {
        bool refused = occ_refused(occ, transition->event, transition->source, error);
        if (!refused && command->busy) {
            snprintf(error, sizeof error, "%s is still going on", occ_event_text(command->event));
            refused = true;
        }
        if (refused) {
            int event = transition->event >= INT_MIN && transition->event <= INT_MAX ? (int)transition->event : 0;
            answer = occ->answers[occ_keep_answer(occ, id, event, false, OCC_TRIGGER_EXECUTOR, error)];
        } else {
            answers_now = false;
            command->busy = true;
            command->waits = true;
            memcpy(command->id, id, sizeof id);
            command->event = (int)transition->event;
            command->source = (int)transition->source;
            command->arguments = transition->arguments;
            /* The arguments are inside the frame. Moving it may move its bytes, if it is a short one. */
            const uint8_t* before = zmq_msg_data(frame);
            zmq_msg_init(&command->frame);
            zmq_msg_move(&command->frame, frame);
            if (command->arguments.pairs != NULL)
                command->arguments.pairs =
                    (const uint8_t*)zmq_msg_data(&command->frame) + (command->arguments.pairs - before);
            occ_poke(occ->wake_fd);
            atomic_store(&occ->woken, true);
        }
    }
    pthread_mutex_unlock(&occ->lock);
    if (answers_now)
        occ_tell_answer(link, &answer);
}

static void on_ping(struct link* link, int peer, const struct occ_ping* ping) {
    occ_t* occ = link->occ;
    struct occ_message message = {.kind = OCC_KIND_PONG};
    pthread_mutex_lock(&occ->lock);
    message.pong = (struct occ_pong){ping->number, occ->state, (int64_t)occ->sequence,
                                     (int64_t)atomic_load_explicit(&occ->progress, memory_order_relaxed)};
    pthread_mutex_unlock(&occ->lock);
    occ_tell(link, peer, &message);
}

static void on_frame(struct link* link, zmq_msg_t* id, zmq_msg_t* frame) {
    struct occ_message message;
    if (occ_wire_decode(zmq_msg_data(frame), zmq_msg_size(frame), &message) != 0)
        return;
    link->frames++;
    int peer = find_peer(link, id);
    if (peer >= 0) {
        link->peers[peer].heard = link->frames;
        link->peers[peer].credit = TELEMETRY_CREDIT;
    }
    if (message.kind == OCC_KIND_HELLO)
        on_hello(link, id, &message.hello);
    else if (peer >= 0 && message.kind == OCC_KIND_TRANSITION)
        on_transition(link, peer, &message.transition, frame);
    else if (peer >= 0 && message.kind == OCC_KIND_PING)
        on_ping(link, peer, &message.ping);
}

/* --- the thread ---------------------------------------------------------------------------------------------- */

/* Receive one message of exactly three parts (routing id, version, payload). Returns false if none waits. */
static bool receive(struct link* link) {
    void* socket = link->occ->socket;
    zmq_msg_t parts[3];
    zmq_msg_t part;
    int n = 0, version_is_ours = 0, more = 1;
    if (zmq_msg_init(&part) != 0 || zmq_msg_recv(&part, socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&part);
        return false;
    }
    for (;; n++) {
        more = zmq_msg_more(&part);
        if (n < 3) {
            zmq_msg_init(&parts[n]);
            zmq_msg_move(&parts[n], &part);
        }
        zmq_msg_close(&part);
        if (!more)
            break;
        zmq_msg_init(&part);
        if (zmq_msg_recv(&part, socket, 0) < 0) /* the parts of a message come together */
            break;
    }
    if (n == 2) {
        const uint8_t* version = zmq_msg_data(&parts[1]);
        version_is_ours = zmq_msg_size(&parts[1]) == 1 && version[0] == OCC_WIRE_VERSION;
    }
    if (version_is_ours)
        on_frame(link, &parts[0], &parts[2]);
    for (int i = 0; i <= n && i < 3; i++)
        zmq_msg_close(&parts[i]);
    return true;
}

static void* work(void* argument) {
    occ_t* occ = argument;
    struct link link = {.occ = occ, .holder = -1};
    const char* task = getenv("ECS_TASK_ID");
    if (task != NULL)
        occ_wire_clean_text(task, strlen(task), link.task, sizeof link.task);
    zmq_pollitem_t items[] = {{.socket = occ->socket, .events = ZMQ_POLLIN},
                              {.fd = occ->link_fd, .events = ZMQ_POLLIN}};
    for (;;) {
        if (zmq_poll(items, 2, occ_telemetry_due(&link)) < 0 && errno != EINTR)
            return NULL;
        uint64_t pokes;
        ssize_t was_read = read(occ->link_fd, &pokes, sizeof pokes);
        (void)was_read; /* not blocking; it may well be empty */
        for (int i = 0; i < FRAMES_A_TURN; i++) {
            occ_tell_notes(&link);
            if (!receive(&link))
                break;
        }
        if (occ_telemetry_due(&link) == 0)
            occ_tell_telemetry(&link);
        pthread_mutex_lock(&occ->lock);
        bool ends = occ->closing && occ->n_notes == 0;
        pthread_mutex_unlock(&occ->lock);
        if (ends) {
            occ_tell_telemetry(&link);
            return NULL;
        }
    }
}

/* Start the thread with all signals blocked: they are for the user's thread. */
static int start_thread(occ_t* occ) {
    pthread_attr_t attributes;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return error;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&occ->thread, &attributes, work, occ);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

static int close_socket(occ_t* occ, int error) {
    static const char ipc[] = "ipc://";
    int saved = errno;
    if (occ->socket != NULL) {
        const char* path = occ->endpoint + sizeof ipc - 1;
        bool is_file = strncmp(occ->endpoint, ipc, sizeof ipc - 1) == 0 && path[0] != '@';
        if (zmq_unbind(occ->socket, occ->endpoint) == 0 && is_file)
            unlink(path); /* libzmq leaves it */
        zmq_close(occ->socket);
    }
    if (occ->context != NULL)
        zmq_ctx_term(occ->context);
    occ->socket = occ->context = NULL;
    errno = saved;
    return error;
}

int occ_link_open(occ_t* occ) {
    int yes = 1, linger = LINGER_MS, queue = QUEUE_MESSAGES;
    int64_t longest = OCC_MAX_FRAME_BYTES;
    size_t size = sizeof occ->endpoint;
    occ->context = zmq_ctx_new();
    if (occ->context == NULL)
        return OCC_E_MEMORY;
    occ->socket = zmq_socket(occ->context, ZMQ_ROUTER);
    if (occ->socket == NULL)
        return close_socket(occ, OCC_E_SYSTEM);
    zmq_setsockopt(occ->socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(occ->socket, ZMQ_SNDHWM, &queue, sizeof queue);
    zmq_setsockopt(occ->socket, ZMQ_MAXMSGSIZE, &longest, sizeof longest);
    zmq_setsockopt(occ->socket, ZMQ_ROUTER_MANDATORY, &yes, sizeof yes); /* else the gone are never noticed */
    zmq_setsockopt(occ->socket, ZMQ_ROUTER_HANDOVER, &yes, sizeof yes);  /* a peer that comes back keeps its id */
    if (zmq_bind(occ->socket, occ->endpoint) != 0)
        return close_socket(occ, OCC_E_BIND);
    zmq_getsockopt(occ->socket, ZMQ_LAST_ENDPOINT, occ->endpoint, &size); /* with the port that the system chose */
    errno = start_thread(occ);
    return errno == 0 ? 0 : close_socket(occ, OCC_E_SYSTEM);
}

void occ_link_close(occ_t* occ) {
    if (occ->socket == NULL)
        return;
    pthread_mutex_lock(&occ->lock);
    occ->closing = true;
    pthread_mutex_unlock(&occ->lock);
    occ_poke(occ->link_fd);
    pthread_join(occ->thread, NULL);
    close_socket(occ, 0);
}

void occ_note(occ_t* occ, struct note note) {
    while (occ->n_notes == MAX_NOTES)
        pthread_cond_wait(&occ->room, &occ->lock);
    occ->notes[(occ->first_note + occ->n_notes++) % MAX_NOTES] = note;
    occ_poke(occ->link_fd);
}
