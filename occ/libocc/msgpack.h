/* The few forms of msgpack that the task link is made of: bounded, without allocation or recursion. Every length is
 * checked against what is left of the frame before it is believed. */
#ifndef OCC_MSGPACK_H
#define OCC_MSGPACK_H

#define OCC_TABLE_WIRE
#include "occ/occ_table.h"

struct reader {
    const uint8_t* at;
    const uint8_t* end;
};

enum token_type { TOKEN_OTHER, TOKEN_BOOL, TOKEN_INT, TOKEN_FLOAT, TOKEN_TEXT, TOKEN_ARRAY, TOKEN_MAP };

struct token {
    enum token_type type;
    int64_t number; /* of a BOOL or an INT */
    double real;    /* of a FLOAT or an INT, or of an integer beyond int64, which is a FLOAT here */
    uint32_t count; /* items of an ARRAY, pairs of a MAP: the frame has room for them */
    struct occ_text text;
};

/* Read one value, of an array or map only its head. Returns false if the bytes are none. */
bool occ_read_token(struct reader* reader, struct token* token);

/* Read a text that is valid UTF-8. */
bool occ_read_text(struct reader* reader, struct occ_text* text);

/* Pass over one value, whatever it holds. */
bool occ_skip(struct reader* reader);

/* Return the length of the UTF-8 character at the start, 0 if there is none. `size` is at least 1. */
size_t occ_character(const uint8_t* bytes, size_t size);

/* The shortest form of everything, as msgpack for Python writes it. */
struct writer {
    uint8_t* at;
    size_t left;
    bool full; /* something did not fit; what follows is undefined */
};

void occ_put_bool(struct writer* writer, bool truth);
void occ_put_int(struct writer* writer, int64_t number);
void occ_put_float(struct writer* writer, double number);
void occ_put_text(struct writer* writer, struct occ_text text);
void occ_put_array(struct writer* writer, uint32_t count); /* at most 15 */
void occ_put_map(struct writer* writer, uint32_t count);

#endif
