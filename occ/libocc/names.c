/* Names of states, events and errors. */
#include "occ/occ.h"

const char* occ_state_text(int state) {
    const int n = sizeof occ_state_names / sizeof *occ_state_names;
    return state >= 0 && state < n ? occ_state_names[state] : "?";
}

const char* occ_event_text(int event) {
    const int n = sizeof occ_event_names / sizeof *occ_event_names;
    return event >= 1 && event < n ? occ_event_names[event] : "?";
}

const char* occ_error_text(int error) {
    switch (error) {
    case OCC_OK:
        return "success";
    case OCC_END_OF_STREAM:
        return "end of stream";
    case OCC_E_ARGUMENT:
        return "a function was called with wrong arguments";
    case OCC_E_MEMORY:
        return "no memory";
    case OCC_E_ENDPOINT:
        return "no control endpoint: set OCC_CONTROL_ENDPOINT to ipc://PATH or tcp://HOST:PORT, or OCC_CONTROL_PORT to "
               "a port";
    case OCC_E_BIND:
        return "the control endpoint cannot be bound";
    case OCC_E_SYSTEM:
        return "a call to the system failed";
    case OCC_E_FRAME:
        return "not a message";
    case OCC_E_SPACE:
        return "the buffer is too small";
    case OCC_E_NOT_FOUND:
        return "no such property";
    case OCC_E_VALUE:
        return "the property is not of this type";
    case OCC_E_CALLBACK:
        return "a callback failed";
    default:
        return "unknown error";
    }
}
