#include "vrs-server/right.h"

#include <stddef.h>
#include <string.h>

static const char *const names[RIGHT_COUNT] = {
#define X(sym, name) [sym] = name,
    RIGHTS(X)
#undef X
};

#define R(sym) ((right_mask)1 << (sym))

/* What a role starts with; an application may ask for less, never for more. */
static const struct {
    const char *role;
    right_mask rights;
    bool municipal;
} roles[] = {
    {"site_staff",
     R(RIGHT_DOSE_POST) | R(RIGHT_DOSE_CANCEL) | R(RIGHT_RECEIPT_READ) | R(RIGHT_COUPON_CHECK),
     false},
    {"municipal_staff",
     R(RIGHT_RESIDENT_READ) | R(RIGHT_RESIDENT_REGISTER) | R(RIGHT_DOSE_READ) |
         R(RIGHT_DOSE_CORRECT) | R(RIGHT_INQUIRE) | R(RIGHT_NUMBER_SEARCH) |
         R(RIGHT_NUMBER_REVEAL) | R(RIGHT_CERTIFICATE) | R(RIGHT_EXPORT) | R(RIGHT_PROVISION_READ) |
         R(RIGHT_STATISTICS) | R(RIGHT_INQUIRE_BULK) | R(RIGHT_ERASE) | R(RIGHT_LOG_READ),
     true},
    {"municipal_approver",
     R(RIGHT_APPROVE_USER) | R(RIGHT_INQUIRY_APPROVE) | R(RIGHT_LOG_READ) | R(RIGHT_ERASE) |
         R(RIGHT_RESIDENT_READ) | R(RIGHT_DOSE_READ) | R(RIGHT_PROVISION_READ),
     true},
    {"system_client", R(RIGHT_DOSE_POST) | R(RIGHT_DOSE_CANCEL) | R(RIGHT_RECEIPT_READ), false},
    {"prefecture", R(RIGHT_STATISTICS), false},
    {"nation", R(RIGHT_STATISTICS), false},
    {"operator", 0, false},
    {"auditor", R(RIGHT_LOG_READ), false},
};

const char *right_name(enum right r) {
    return names[r];
}

bool right_by_name(const char *name, enum right *out) {
    for (int r = 0; r < RIGHT_COUNT; r++) {
        if (strcmp(names[r], name) == 0) {
            *out = (enum right)r;
            return true;
        }
    }
    return false;
}

/* Calls fn for each space-separated word; false as soon as one is refused or too long. */
static bool each_word(const char *s, bool (*fn)(const char *word, void *arg), void *arg) {
    char word[32];
    while (*s != '\0') {
        size_t n = strcspn(s, " ");
        if (n >= sizeof word)
            return false;
        if (n > 0) {
            memcpy(word, s, n);
            word[n] = '\0';
            if (!fn(word, arg))
                return false;
        }
        s += n;
        s += strspn(s, " ");
    }
    return true;
}

static bool add_right(const char *word, void *arg) {
    enum right r;
    if (!right_by_name(word, &r))
        return false;
    *(right_mask *)arg |= R(r);
    return true;
}

bool right_mask_parse(const char *text, right_mask *out) {
    *out = 0;
    return each_word(text, add_right, out);
}

bool role_rights(const char *role, right_mask *out) {
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(roles[i].role, role) == 0) {
            *out = roles[i].rights;
            return true;
        }
    }
    return false;
}

struct role_kinds {
    bool municipal;
    bool operator;
};

static bool note_role(const char *word, void *arg) {
    struct role_kinds *kinds = arg;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(roles[i].role, word) == 0) {
            kinds->municipal |= roles[i].municipal;
            kinds->operator|= strcmp(word, "operator") == 0;
            return true;
        }
    }
    return false;
}

bool rights_compatible(const char *text) {
    struct role_kinds kinds = {0};
    return each_word(text, note_role, &kinds) && !(kinds.municipal && kinds.operator);
}
