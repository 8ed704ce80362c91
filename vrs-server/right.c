#include "vrs-server/right.h"

#include <stdio.h>
#include <string.h>

static const char *const names[RIGHT_COUNT] = {
#define X(sym, name) [sym] = name,
    RIGHTS(X)
#undef X
};

#define R(sym) ((right_mask)1 << (sym))

static const struct {
    const char *role;
    enum role_reach reach;
    right_mask most, usual;
} list[] = {
    {"site_staff", REACH_SITE,
     R(RIGHT_DOSE_POST) | R(RIGHT_DOSE_CANCEL) | R(RIGHT_RECEIPT_READ) | R(RIGHT_COUPON_CHECK) |
         R(RIGHT_OUTBOX_UNLOCK),
     R(RIGHT_DOSE_POST) | R(RIGHT_DOSE_CANCEL) | R(RIGHT_RECEIPT_READ) | R(RIGHT_COUPON_CHECK)},
    {"municipal_staff", REACH_MUNICIPALITY,
     R(RIGHT_RESIDENT_READ) | R(RIGHT_RESIDENT_REGISTER) | R(RIGHT_DOSE_READ) |
         R(RIGHT_DOSE_CORRECT) | R(RIGHT_INQUIRE) | R(RIGHT_INQUIRE_BULK) | R(RIGHT_NUMBER_SEARCH) |
         R(RIGHT_NUMBER_REVEAL) | R(RIGHT_CERTIFICATE) | R(RIGHT_EXPORT) | R(RIGHT_ERASE) |
         R(RIGHT_PROVISION_READ) | R(RIGHT_STATISTICS) | R(RIGHT_STAFF) | R(RIGHT_LOG_READ),
     R(RIGHT_RESIDENT_READ) | R(RIGHT_DOSE_READ)},
    {"municipal_approver", REACH_MUNICIPALITY,
     R(RIGHT_RESIDENT_READ) | R(RIGHT_DOSE_READ) | R(RIGHT_PROVISION_READ) | R(RIGHT_STATISTICS) |
         R(RIGHT_APPROVE_USER) | R(RIGHT_INQUIRY_APPROVE) | R(RIGHT_EXPORT_APPROVE) |
         R(RIGHT_ERASE_APPROVE) | R(RIGHT_TERMINAL) | R(RIGHT_SETTING) | R(RIGHT_LOG_READ) |
         R(RIGHT_LOG_REVIEW) | R(RIGHT_LOG_PROOF),
     R(RIGHT_APPROVE_USER)},
    {"prefecture", REACH_PREFECTURE, R(RIGHT_STATISTICS), R(RIGHT_STATISTICS)},
    {"nation", REACH_NATION, R(RIGHT_STATISTICS), R(RIGHT_STATISTICS)},
    {"operator", REACH_OPERATION, 0, 0},
    {"auditor", REACH_AUDIT, R(RIGHT_LOG_READ) | R(RIGHT_LOG_PROOF),
     R(RIGHT_LOG_READ) | R(RIGHT_LOG_PROOF)},
};

/* In one person, these would be both eyes. */
static const struct {
    enum right asks, allows;
} apart[] = {
    {RIGHT_STAFF, RIGHT_APPROVE_USER},
    {RIGHT_ERASE, RIGHT_ERASE_APPROVE},
    {RIGHT_EXPORT, RIGHT_EXPORT_APPROVE},
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

void right_mask_format(right_mask rights, char *out, size_t cap) {
    out[0] = '\0';
    for (int r = 0; r < RIGHT_COUNT; r++) {
        size_t len = strlen(out);
        if ((rights >> r & 1) != 0)
            (void)snprintf(out + len, cap - len, "%s%s", len > 0 ? " " : "", names[r]);
    }
}

/* The first of "a|b|…" at *s, which moves behind it; false at the end or for an unknown name. */
static bool next_alternative(const char **s, enum right *out) {
    char word[32];
    size_t n = strcspn(*s, "|");
    if (n == 0 || n >= sizeof word)
        return false;
    memcpy(word, *s, n);
    word[n] = '\0';
    *s += n;
    *s += **s == '|';
    return right_by_name(word, out);
}

bool right_allows(right_mask rights, const char *needed) {
    enum right r;
    if (needed == NULL)
        return true;
    for (bool any = false; *needed != '\0';) {
        if (!next_alternative(&needed, &r))
            return false;
        any |= (rights >> r & 1) != 0;
        if (*needed == '\0')
            return any;
    }
    return false;
}

bool right_known(const char *needed) {
    enum right r;
    while (*needed != '\0') {
        if (!next_alternative(&needed, &r))
            return false;
    }
    return true;
}

struct roles {
    right_mask most, usual;
    enum role_reach reach;
    size_t count;
};

static bool add_role(const char *word, void *arg) {
    struct roles *all = arg;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (strcmp(list[i].role, word) != 0)
            continue;
        if (all->count++ > 0 && all->reach != list[i].reach)
            return false;
        all->reach = list[i].reach;
        all->most |= list[i].most;
        all->usual |= list[i].usual;
        return true;
    }
    return false;
}

bool roles_rights(const char *text, right_mask *most, right_mask *usual, enum role_reach *reach) {
    struct roles all = {0};
    bool ok = each_word(text, add_role, &all) && all.count > 0;
    *most = ok ? all.most : 0;
    *usual = ok ? all.usual : 0;
    *reach = all.reach;
    return ok;
}

bool rights_separate(right_mask rights) {
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++) {
        if ((rights & R(apart[i].asks)) != 0 && (rights & R(apart[i].allows)) != 0)
            return false;
    }
    return true;
}
