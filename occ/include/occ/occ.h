/* libocc: the control side of a task.
 *
 *     static int configure(occ_t* occ, void* user) { ... return 0; }
 *     static int iterate(occ_t* occ, void* user) { ... return 0; }
 *
 *     int main(void) {
 *         struct occ_callbacks callbacks = {.configure = configure, .iterate_running = iterate};
 *         occ_t* occ;
 *         int status = occ_create(&occ, &callbacks, NULL);
 *         if (status == 0) {
 *             status = occ_run(occ);
 *             occ_destroy(occ);
 *         }
 *         return status == 0 ? 0 : 1;
 *     }
 *
 * occ_create binds the control endpoint and starts one thread, which owns the socket: it answers pings even while a
 * callback works. All callbacks run inside occ_run, in the thread that called it. Functions return 0 or a negative
 * enum occ_error unless they say otherwise. The caller owns all memory that it passes, and the handle; texts that
 * functions return belong to the handle and hold until the callback at work returns. */
#ifndef OCC_H
#define OCC_H

#include <poll.h>

#include "occ/occ_table.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define OCC_API __attribute__((visibility("default")))
#define OCC_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define OCC_API
#define OCC_PRINTF(text, first)
#endif

typedef struct occ occ_t;

enum occ_error {
    OCC_OK = 0,
    OCC_END_OF_STREAM = 1,  /* not an error: iterate_running has nothing more to give in this run */
    OCC_E_ARGUMENT = -1,    /* a function was called wrongly */
    OCC_E_MEMORY = -2,      /* no memory */
    OCC_E_ENDPOINT = -3,    /* OCC_CONTROL_ENDPOINT and OCC_CONTROL_PORT are absent or unusable */
    OCC_E_BIND = -4,        /* the endpoint cannot be bound; errno says why (see occ_error_text) */
    OCC_E_SYSTEM = -5,      /* a call to the system failed; errno says which way */
    OCC_E_FRAME = -6,       /* bytes that are no message */
    OCC_E_SPACE = -7,       /* the buffer is too small */
    OCC_E_NOT_FOUND = -8,   /* no such property */
    OCC_E_VALUE = -9,       /* the property's text is not of the type that was asked for */
    OCC_E_CALLBACK = -10    /* what occ_fail returns */
};

/* What the task does. NULL means: nothing to do, success. A return other than 0 takes the task to ERROR; the text set
 * by occ_fail goes to the controller. */
struct occ_callbacks {
    int (*configure)(occ_t* occ, void* user);
    int (*reset)(occ_t* occ, void* user);
    int (*recover)(occ_t* occ, void* user); /* from ERROR: make STANDBY possible again */
    int (*start)(occ_t* occ, void* user, uint32_t run);
    int (*stop)(occ_t* occ, void* user);
    int (*pause)(occ_t* occ, void* user);
    int (*resume)(occ_t* occ, void* user);
    int (*exit)(occ_t* occ, void* user);
    /* RECONFIGURE, in CONFIGURED: some properties have new values (see occ_changed). NULL means here: the task can't
     * take them without RESET; the event is refused and nothing changes. */
    int (*reconfigure)(occ_t* occ, void* user);
    /* Called again and again in RUNNING: 0 go on, OCC_END_OF_STREAM nothing more in this run (told once; it is not
     * called again until the next START), else error. It should return within a second, and when it has nothing to
     * do it should wait in occ_wait, or poll occ_wake_fd among its own sockets: else occ_run turns at 100 % CPU. */
    int (*iterate_running)(occ_t* occ, void* user);
    /* Called every 100 ms between other callbacks, in all states but ERROR and DONE: not 0 takes the task to ERROR. */
    int (*iterate_check)(occ_t* occ, void* user);
    /* A wait of occ_run was interrupted by a signal, or has lasted a second: not 0 ends the task as SIGTERM does. For
     * language bindings, which look for signals themselves. */
    int (*interrupted)(occ_t* occ, void* user);
};

/* --- life -------------------------------------------------------------------------------------------------- */

/* Make a task in STANDBY, bound to $OCC_CONTROL_ENDPOINT (ipc:// or tcp://), else to $OCC_CONTROL_PORT on 127.0.0.1.
 * An address that others can reach (tcp://0.0.0.0:47100) is told on stderr: the link has no keys yet.
 * The callbacks are copied. Errors: OCC_E_ARGUMENT, _MEMORY, _ENDPOINT, _BIND, _SYSTEM; then *occ is NULL. */
OCC_API int occ_create(occ_t** occ, const struct occ_callbacks* callbacks, void* user);

/* As occ_create, at this endpoint. */
OCC_API int occ_create_at(occ_t** occ, const struct occ_callbacks* callbacks, void* user, const char* endpoint);

/* Go through what the controller orders until the task is DONE. SIGTERM and SIGINT (handled while occ_run works,
 * unless the program handles them itself) walk STOP, RESET, EXIT; a second SIGINT has its usual effect.
 * Returns 0 when DONE, OCC_E_SYSTEM if waiting is impossible. */
OCC_API int occ_run(occ_t* occ);

/* Tell the controller what is still to tell (at most 1 s), close the endpoint, free all. NULL is allowed. */
OCC_API void occ_destroy(occ_t* occ);

/* Let occ_run walk STOP, RESET, EXIT and return. May be called from any thread and from a signal handler. */
OCC_API void occ_terminate(occ_t* occ);

/* --- inside callbacks -------------------------------------------------------------------------------------- */

/* Say why a callback fails, as printf does; returns OCC_E_CALLBACK: `return occ_fail(occ, "no card %d", n);` */
OCC_API int occ_fail(occ_t* occ, const char* format, ...) OCC_PRINTF(2, 3);

/* Wait until one of the fds is ready, a command waits, or timeout_ms has passed (-1: no limit); at most 63 fds.
 * Returns 1 if a command or a signal waits, or is about to (return from the callback soon), else 0. */
OCC_API int occ_wait(occ_t* occ, struct pollfd* fds, size_t count, int timeout_ms);

/* Return 1 if a command or a signal waits. */
OCC_API int occ_pending(const occ_t* occ);

/* Return a descriptor that is readable while a command or a signal waits; poll it, never read it. */
OCC_API int occ_wake_fd(const occ_t* occ);

/* --- what the task tells ----------------------------------------------------------------------------------- */

/* Both may be called from any thread, also from threads that libocc does not know; they never wait for the network. */

/* Tell one sample. Samples are gathered and sent by libocc's own thread, at most ten times a second for each name, and
 * before the state changes at the end of a run: no sample is lost and none costs a message. Name and unit are UTF-8 of
 * at most 63 bytes; the unit of the first call holds. Tell increments, not totals: `occ_metric(occ, "events", "", 25)`.
 * Errors, with no effect: OCC_E_ARGUMENT; OCC_E_VALUE: not finite; OCC_E_SPACE: the task tells 64 metrics already. */
OCC_API int occ_metric(occ_t* occ, const char* name, const char* unit, double value);

/* Tell a line, as printf does; a text of several lines is several. Longer ones than 1024 bytes are cut, the whole after
 * 4 KiB. The newest 100 wait for the link, which sends as many every 100 ms; dropped ones are counted.
 * Errors: OCC_E_ARGUMENT, OCC_E_VALUE: the format makes no text. */
OCC_API int occ_log(occ_t* occ, enum occ_severity severity, const char* format, ...) OCC_PRINTF(3, 4);

/* --- what the task was told -------------------------------------------------------------------------------- */

/* Properties are the arguments of CONFIGURE; those of START, and then those of STOP, lie on top until the next START.
 * RESET and RECOVER end with none. RECONFIGURE changes what CONFIGURE said, and takes away what START and STOP said. */

/* Return the text of a property, or `fallback` if there is none of that name. */
OCC_API const char* occ_property(const occ_t* occ, const char* key, const char* fallback);

/* In `reconfigure`: return 1 if the property is among those that came with RECONFIGURE, else 0. */
OCC_API int occ_changed(const occ_t* occ, const char* key);

/* Put the value of a property into *value; leave it untouched and return OCC_E_NOT_FOUND or OCC_E_VALUE else.
 * Truth values are true, false, yes, no, on, off, 1 and 0. */
OCC_API int occ_property_int(const occ_t* occ, const char* key, int64_t* value);
OCC_API int occ_property_float(const occ_t* occ, const char* key, double* value);
OCC_API int occ_property_bool(const occ_t* occ, const char* key, bool* value);

/* Walk all properties, sorted within each layer: set *cursor to 0, call until OCC_E_NOT_FOUND. */
OCC_API int occ_property_next(const occ_t* occ, size_t* cursor, const char** key, const char** value);

/* The same for the properties of a subtree: those whose key is `prefix`, a dot, and more: "chans.data" and "0.address"
 * for the key chans.data.0.address. *key points behind the dot. */
OCC_API int occ_property_under(const occ_t* occ, const char* prefix, size_t* cursor, const char** key,
                               const char** value);

/* Return the state; may be called from any thread. */
OCC_API enum occ_state occ_current_state(occ_t* occ);

/* Return the number of the run that the task was last started for, 0 if none. */
OCC_API uint32_t occ_run_number(occ_t* occ);

/* Return the endpoint that is bound. */
OCC_API const char* occ_endpoint(const occ_t* occ);

/* --- names ------------------------------------------------------------------------------------------------- */

OCC_API const char* occ_state_text(int state);
OCC_API const char* occ_event_text(int event);
OCC_API const char* occ_error_text(int error);

#ifdef __cplusplus
}
#endif

#endif
