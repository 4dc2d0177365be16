"""The C interface of libocc, as far as the binding needs it."""

from libc.stdint cimport int64_t, uint32_t

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    short POLLIN

cdef extern from "occ/occ.h" nogil:
    ctypedef struct occ_t:
        pass

    struct occ_callbacks:
        int (*configure)(occ_t*, void*) noexcept
        int (*reset)(occ_t*, void*) noexcept
        int (*recover)(occ_t*, void*) noexcept
        int (*start)(occ_t*, void*, uint32_t) noexcept
        int (*stop)(occ_t*, void*) noexcept
        int (*pause)(occ_t*, void*) noexcept
        int (*resume)(occ_t*, void*) noexcept
        int (*exit)(occ_t*, void*) noexcept
        int (*reconfigure)(occ_t*, void*) noexcept
        int (*iterate_running)(occ_t*, void*) noexcept
        int (*iterate_check)(occ_t*, void*) noexcept
        int (*interrupted)(occ_t*, void*) noexcept

    const int OCC_END_OF_STREAM
    const int OCC_E_ENDPOINT
    const int OCC_E_NOT_FOUND
    const int OCC_E_ARGUMENT

    int occ_create_at(occ_t** occ, const occ_callbacks* callbacks, void* user, const char* endpoint)
    int occ_run(occ_t* occ)
    void occ_destroy(occ_t* occ)
    void occ_terminate(occ_t* occ)
    int occ_fail(occ_t* occ, const char* format, ...)
    int occ_wait(occ_t* occ, pollfd* fds, size_t count, int timeout_ms)
    int occ_pending(const occ_t* occ)
    int occ_wake_fd(const occ_t* occ)
    enum occ_severity:
        OCC_SEVERITY_DEBUG
        OCC_SEVERITY_INFO
        OCC_SEVERITY_WARNING
        OCC_SEVERITY_ERROR
        OCC_SEVERITY_FATAL

    int occ_metric(occ_t* occ, const char* name, const char* unit, double value)
    int occ_log(occ_t* occ, occ_severity severity, const char* format, ...)
    int occ_changed(const occ_t* occ, const char* key)
    int occ_property_next(const occ_t* occ, size_t* cursor, const char** key, const char** value)
    int occ_current_state(occ_t* occ)
    uint32_t occ_run_number(occ_t* occ)
    const char* occ_endpoint(const occ_t* occ)
    const char* occ_error_text(int error)
