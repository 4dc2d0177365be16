/* The user's thread: states, callbacks, properties, signals. */
#include "handle.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CHECK_PERIOD_MS = 100, INTERRUPTED_PERIOD_MS = 1000, MAX_WAIT_FDS = 63 };

/* --- signals ----------------------------------------------------------------------------------------------- */

/* Dispositions of signals belong to the process, and a handler gets no argument: this is the library's only static
 * variable. A second task in one process gets no signals; its program calls occ_terminate. */
static _Atomic(occ_t*) signalled;

static void on_signal(int number) {
    int saved = errno;
    occ_t* occ = atomic_load(&signalled);
    if (occ != NULL) {
        if (number == SIGINT && atomic_fetch_add(&occ->interrupts, 1) > 0) {
            signal(SIGINT, SIG_DFL); /* the user insists */
            raise(SIGINT);
        }
        occ_terminate(occ);
    }
    errno = saved;
}

static const int handled_signals[] = {SIGTERM, SIGINT};
enum { N_SIGNALS = 2 };

struct dispositions {
    bool ours[N_SIGNALS];
    struct sigaction before[N_SIGNALS];
};

static void take_signals(occ_t* occ, struct dispositions* kept) {
    occ_t* nobody = NULL;
    memset(kept, 0, sizeof *kept);
    if (!atomic_compare_exchange_strong(&signalled, &nobody, occ))
        return;
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: waits of the user's code end too */
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < N_SIGNALS; i++) {
        sigaction(handled_signals[i], NULL, &kept->before[i]);
        if (kept->before[i].sa_handler == SIG_DFL && !(kept->before[i].sa_flags & SA_SIGINFO))
            kept->ours[i] = sigaction(handled_signals[i], &action, NULL) == 0;
    }
}

static void give_signals_back(occ_t* occ, const struct dispositions* kept) {
    for (int i = 0; i < N_SIGNALS; i++)
        if (kept->ours[i])
            sigaction(handled_signals[i], &kept->before[i], NULL);
    occ_t* ours = occ;
    atomic_compare_exchange_strong(&signalled, &ours, NULL);
}

/* --- states and transitions -------------------------------------------------------------------------------- */

/* Let the metrics told so far come before what is noted next; the lock is held. */
static void cut_metrics(occ_t* occ) {
    struct samples* samples = malloc(sizeof *samples);
    if (samples == NULL)
        return; /* they come a little late */
    occ_telemetry_take(&occ->telemetry, true, samples);
    if (samples->count > 0)
        occ_note(occ, (struct note){.type = NOTE_METRICS, .samples = samples});
    else
        free(samples);
}

static bool is_in_run(int state) {
    return state == OCC_STATE_RUNNING || state == OCC_STATE_PAUSED;
}

/* The lock is held. Metrics are told between the states that begin and end their run. */
static void set_state(occ_t* occ, int state) {
    if (is_in_run(occ->state) && !is_in_run(state))
        cut_metrics(occ);
    occ->state = state;
    occ->sequence++;
    occ_note(occ, (struct note){.type = NOTE_STATE, .number = state, .sequence = occ->sequence});
}

static void happened(occ_t* occ, int type, const char* text) {
    pthread_mutex_lock(&occ->lock);
    occ_note(occ, (struct note){.type = NOTE_HAPPENED, .number = type, .text = strdup(text)});
    pthread_mutex_unlock(&occ->lock);
}

static void forget_properties(occ_t* occ) {
    for (int i = 0; i < LAYERS; i++) {
        free(occ->layers[i]);
        occ->layers[i] = NULL;
    }
}

static const char* told_error(const occ_t* occ, const char* callback, char* buffer, size_t size, int status) {
    if (occ->error[0] != '\0')
        return occ->error;
    snprintf(buffer, size, "%s failed with status %d", callback, status);
    return buffer;
}

/* An error that came from the user's loop or check: nobody ordered it. */
static void go_error(occ_t* occ, const char* callback, int status) {
    char buffer[64];
    const char* text = told_error(occ, callback, buffer, sizeof buffer, status);
    pthread_mutex_lock(&occ->lock);
    set_state(occ, OCC_STATE_ERROR);
    pthread_mutex_unlock(&occ->lock);
    happened(occ, OCC_DEVICE_EVENT_TYPE_TASK_INTERNAL_ERROR, text);
}

static int read_run_number(const struct properties* arguments, uint32_t* run) {
    const char* text = occ_properties_find(arguments, "runNumber");
    if (text == NULL)
        text = occ_properties_find(arguments, "run_number");
    *run = 0;
    if (text == NULL)
        return 0;
    char* end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number > UINT32_MAX)
        return OCC_E_VALUE;
    *run = (uint32_t)number;
    return 0;
}

/* Put the arguments of an event where properties are looked for. On failure say why; nothing has changed then. */
static bool take_arguments(occ_t* occ, int event, struct occ_map map, char* error) {
    struct properties* arguments;
    uint32_t run = 0;
    int status = occ_properties_make(map, &arguments);
    if (status != 0) {
        snprintf(error, OCC_MAX_ERROR_BYTES, "%s",
                 status == OCC_E_VALUE ? "an argument holds a NUL character" : "no memory for the arguments");
        return false;
    }
    if (event == OCC_EVENT_START && read_run_number(arguments, &run) != 0) {
        snprintf(error, OCC_MAX_ERROR_BYTES, "the run number is not a number between 0 and %lu",
                 (unsigned long)UINT32_MAX);
        free(arguments);
        return false;
    }
    if (event == OCC_EVENT_RECONFIGURE) { /* they change what CONFIGURE said, for good */
        struct properties* changed = occ_properties_merge(occ->layers[0], arguments);
        if (changed == NULL) {
            snprintf(error, OCC_MAX_ERROR_BYTES, "no memory for the arguments");
            free(arguments);
            return false;
        }
        forget_properties(occ);
        occ->layers[0] = changed;
        occ->layers[LAYERS - 1] = arguments; /* they are there twice until the next START: see occ_changed */
        return true;
    }
    int layer = event == OCC_EVENT_CONFIGURE ? 0 : event == OCC_EVENT_START ? 1 : 2;
    for (int i = layer; i < LAYERS; i++) {
        free(occ->layers[i]);
        occ->layers[i] = NULL;
    }
    occ->layers[layer] = arguments;
    if (event == OCC_EVENT_START) {
        pthread_mutex_lock(&occ->lock);
        occ->run = run;
        pthread_mutex_unlock(&occ->lock);
    }
    return true;
}

static int call(occ_t* occ, int event) {
    const struct occ_callbacks* callbacks = &occ->callbacks;
    int (*const simple[])(occ_t*, void*) = {
        [OCC_EVENT_CONFIGURE] = callbacks->configure,
        [OCC_EVENT_RESET] = callbacks->reset,
        [OCC_EVENT_START] = NULL,
        [OCC_EVENT_STOP] = callbacks->stop,
        [OCC_EVENT_EXIT] = callbacks->exit,
        [OCC_EVENT_GO_ERROR] = NULL,
        [OCC_EVENT_RECOVER] = callbacks->recover,
        [OCC_EVENT_PAUSE] = callbacks->pause,
        [OCC_EVENT_RESUME] = callbacks->resume,
        [OCC_EVENT_RECONFIGURE] = callbacks->reconfigure,
    };
    occ->error[0] = '\0';
    if (event == OCC_EVENT_START)
        return callbacks->start != NULL ? callbacks->start(occ, occ->user, occ->run) : 0;
    return simple[event] != NULL ? simple[event](occ, occ->user) : 0;
}

/* Run the callback of an event; return the state that it leads to, and what to say if that is ERROR by failure. */
static int go_through(occ_t* occ, int event, char* error) {
    int target = occ_next[occ->state][event];
    if (event == OCC_EVENT_START) {
        occ->end_of_stream = false;
        pthread_mutex_lock(&occ->lock);
        cut_metrics(occ);
        occ_telemetry_hold(&occ->telemetry, true);
        pthread_mutex_unlock(&occ->lock);
    }
    occ->event = event;
    int status = call(occ, event);
    occ->event = 0;
    if (status != 0) {
        char buffer[64];
        snprintf(error, OCC_MAX_ERROR_BYTES + 1, "%s",
                 told_error(occ, occ_event_text(event), buffer, sizeof buffer, status));
        return OCC_STATE_ERROR;
    }
    if (event == OCC_EVENT_RESET || event == OCC_EVENT_RECOVER)
        forget_properties(occ);
    return target;
}

/* Take back the pokes that were seen: the descriptor is readable only while there is something new. */
static void forget_pokes(occ_t* occ) {
    uint64_t pokes;
    if (!atomic_exchange(&occ->woken, false))
        return;
    ssize_t was_read = read(occ->wake_fd, &pokes, sizeof pokes);
    (void)was_read; /* not blocking; it may well be empty */
}

/* Perform the command that waits, if there is one. */
static void perform(occ_t* occ) {
    char error[OCC_MAX_ERROR_BYTES + 1] = "";
    struct command* command = &occ->command;
    pthread_mutex_lock(&occ->lock);
    bool waits = command->waits;
    command->waits = false;
    if (waits)
        forget_pokes(occ); /* the link poked before it let the lock go */
    /* The state may have changed since the link looked: the user's loop can fail at any time. */
    bool refused = waits && occ_refused(occ, command->event, command->source, error);
    pthread_mutex_unlock(&occ->lock);
    if (!waits)
        return;
    int event = command->event;
    int state = occ->state;
    bool ok = false;
    if (!refused && take_arguments(occ, event, command->arguments, error)) {
        state = go_through(occ, event, error);
        ok = state == occ_next[occ->state][event] && error[0] == '\0';
    }
    pthread_mutex_lock(&occ->lock);
    if (state != occ->state)
        set_state(occ, state);
    if (event == OCC_EVENT_START)
        occ_telemetry_hold(&occ->telemetry, false); /* behind the note of RUNNING */
    int trigger = !ok && state == OCC_STATE_ERROR ? OCC_TRIGGER_DEVICE_ERROR : OCC_TRIGGER_EXECUTOR;
    int index = occ_keep_answer(occ, command->id, event, ok, trigger, error);
    command->busy = false;
    zmq_msg_close(&command->frame);
    occ_note(occ, (struct note){.type = NOTE_ANSWER, .number = index});
    pthread_mutex_unlock(&occ->lock);
}

/* Go down to DONE without being ordered to, step by step. */
static void walk_down(occ_t* occ) {
    char error[OCC_MAX_ERROR_BYTES + 1];
    while (occ->state != OCC_STATE_DONE) {
        int event = occ->state == OCC_STATE_RUNNING || occ->state == OCC_STATE_PAUSED ? OCC_EVENT_STOP
                    : occ->state == OCC_STATE_CONFIGURED                              ? OCC_EVENT_RESET
                                                                                      : OCC_EVENT_EXIT;
        error[0] = '\0';
        int before = occ->state;
        int state = go_through(occ, event, error);
        if (state == before) /* EXIT failed in ERROR: that was the last thing to try */
            state = OCC_STATE_DONE;
        pthread_mutex_lock(&occ->lock);
        set_state(occ, state);
        pthread_mutex_unlock(&occ->lock);
    }
}

/* --- the loop ---------------------------------------------------------------------------------------------- */

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void iterate(occ_t* occ) {
    occ->error[0] = '\0';
    int status = occ->callbacks.iterate_running(occ, occ->user);
    atomic_fetch_add_explicit(&occ->progress, 1, memory_order_relaxed);
    if (status == OCC_END_OF_STREAM) {
        occ->end_of_stream = true;
        happened(occ, OCC_DEVICE_EVENT_TYPE_END_OF_STREAM, "");
    } else if (status != 0)
        go_error(occ, "iterate_running", status);
}

static void check(occ_t* occ) {
    occ->error[0] = '\0';
    int status = occ->callbacks.iterate_check(occ, occ->user);
    if (status != 0)
        go_error(occ, "iterate_check", status);
}

/* Let the binding handle the signals that are not ours. */
static void ask_binding(occ_t* occ) {
    if (occ->callbacks.interrupted != NULL && occ->callbacks.interrupted(occ, occ->user) != 0)
        atomic_store(&occ->terminating, true);
}

/* Wait for a poke, at most timeout_ms (-1: no limit). */
static int wait_for_poke(occ_t* occ, int timeout_ms) {
    struct pollfd item = {.fd = occ->wake_fd, .events = POLLIN};
    /* A signal just before poll would not interrupt it: where there is a binding to ask, look again every second. */
    if (occ->callbacks.interrupted != NULL && (timeout_ms < 0 || timeout_ms > INTERRUPTED_PERIOD_MS))
        timeout_ms = INTERRUPTED_PERIOD_MS;
    int ready = poll(&item, 1, timeout_ms);
    if (ready < 0 && errno != EINTR)
        return OCC_E_SYSTEM;
    if (ready <= 0)
        ask_binding(occ);
    return 0;
}

static int loop(occ_t* occ) {
    bool checks = occ->callbacks.iterate_check != NULL;
    int64_t next_check = now_ms() + CHECK_PERIOD_MS;
    for (;;) {
        forget_pokes(occ);
        perform(occ);
        if (atomic_load(&occ->terminating))
            walk_down(occ);
        if (occ->state == OCC_STATE_DONE)
            return 0;
        bool turns = occ->state == OCC_STATE_RUNNING && occ->callbacks.iterate_running != NULL && !occ->end_of_stream;
        if (turns)
            iterate(occ);
        int timeout = -1;
        if (checks && occ->state != OCC_STATE_ERROR) {
            int64_t now = now_ms();
            if (now >= next_check) {
                check(occ);
                next_check = now + CHECK_PERIOD_MS;
            }
            timeout = (int)(next_check - now);
        }
        if (!turns && !atomic_load(&occ->woken)) {
            int error = wait_for_poke(occ, timeout);
            if (error != 0)
                return error;
        }
    }
}

int occ_run(occ_t* occ) {
    struct dispositions kept;
    if (occ == NULL)
        return OCC_E_ARGUMENT;
    take_signals(occ, &kept);
    int error = loop(occ);
    give_signals_back(occ, &kept);
    return error;
}

/* --- inside callbacks -------------------------------------------------------------------------------------- */

int occ_fail(occ_t* occ, const char* format, ...) {
    char text[OCC_MAX_ERROR_BYTES + 1];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    occ_wire_clean_text(text, strlen(text), occ->error, sizeof occ->error);
    return OCC_E_CALLBACK;
}

int occ_wait(occ_t* occ, struct pollfd* fds, size_t count, int timeout_ms) {
    struct pollfd items[MAX_WAIT_FDS + 1];
    if (count > MAX_WAIT_FDS || (fds == NULL && count > 0))
        return OCC_E_ARGUMENT;
    if (count > 0)
        memcpy(items, fds, count * sizeof *fds);
    items[count] = (struct pollfd){.fd = occ->wake_fd, .events = POLLIN};
    int ready = poll(items, count + 1, timeout_ms);
    for (size_t i = 0; i < count; i++)
        fds[i].revents = ready > 0 ? items[i].revents : 0;
    return occ_pending(occ) || (ready > 0 && items[count].revents != 0);
}

int occ_pending(const occ_t* occ) {
    return atomic_load(&occ->woken);
}

int occ_wake_fd(const occ_t* occ) {
    return occ->wake_fd;
}

/* --- from other threads, and small questions ----------------------------------------------------------------- */

void occ_terminate(occ_t* occ) {
    atomic_store(&occ->terminating, true);
    occ_poke(occ->wake_fd);
    atomic_store(&occ->woken, true); /* after the write: who sees it can read the descriptor empty */
}

enum occ_state occ_current_state(occ_t* occ) {
    pthread_mutex_lock(&occ->lock);
    int state = occ->state;
    pthread_mutex_unlock(&occ->lock);
    return (enum occ_state)state;
}

uint32_t occ_run_number(occ_t* occ) {
    pthread_mutex_lock(&occ->lock);
    uint32_t run = occ->run;
    pthread_mutex_unlock(&occ->lock);
    return run;
}

const char* occ_endpoint(const occ_t* occ) {
    return occ->endpoint;
}
