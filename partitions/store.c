#include "partitions/store.h"

const char *store_table_name(enum store_table t) {
    static const char *const names[STORE_TABLE_COUNT] = {
#define X(sym, name, unique) [sym] = name,
        STORE_TABLES(X)
#undef X
    };
    return (unsigned)t < STORE_TABLE_COUNT ? names[t] : "?";
}
