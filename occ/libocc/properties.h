/* Keys and values of one Transition, sorted: one allocation, texts that end with NUL. */
#ifndef OCC_PROPERTIES_H
#define OCC_PROPERTIES_H

#include "wire.h"

struct property {
    const char* key;
    const char* value;
};

struct properties {
    size_t count;
    struct property items[];
};

/* Make properties of a map; of equal keys the last holds. Returns 0, OCC_E_MEMORY, or OCC_E_VALUE if a text holds NUL.
 * *properties is to be freed with free(). */
int occ_properties_make(struct occ_map map, struct properties** properties);

/* Return `under` with `over` on top of it, in memory of its own; NULL if there is none. `under` may be NULL. */
struct properties* occ_properties_merge(const struct properties* under, const struct properties* over);

/* Return the value, or NULL. `properties` may be NULL. */
const char* occ_properties_find(const struct properties* properties, const char* key);

#endif
