/* Frames of the task link to messages and back. Bounded: no allocation, no recursion; every length is checked against
 * what is left of the frame before it is believed. The schema is generated (occ_table.h). */
#ifndef OCC_WIRE_H
#define OCC_WIRE_H

#define OCC_TABLE_WIRE
#include "occ/occ.h"

#include "msgpack.h"

/* Read one message. Texts and maps point into the frame. Returns 0 or OCC_E_FRAME; *message is then undefined. */
int occ_wire_decode(const uint8_t* frame, size_t size, struct occ_message* message);

/* Write one message. *size is the capacity of the frame, and then the bytes used. Returns 0, OCC_E_SPACE, or
 * OCC_E_ARGUMENT if the message is none of ours. */
int occ_wire_encode(const struct occ_message* message, uint8_t* frame, size_t* size);

/* Take the next pair off a map that occ_wire_decode made. Returns 1, or 0 at the end. */
int occ_wire_next_pair(struct occ_map* map, struct occ_text* key, struct occ_text* value);

/* Copy text as valid UTF-8 that ends with NUL: bytes that are none become '?', what does not fit is cut. Returns the
 * bytes written without the NUL. */
size_t occ_wire_clean_text(const char* text, size_t size, char* clean, size_t capacity);

#endif
