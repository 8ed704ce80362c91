#include "vrs-server/log/near.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { USERS = 512 };

/* The last coupon number that each of the latest users searched; in memory only. */
static struct {
    char user[64];
    uint64_t number, used;
} last[USERS];
static uint64_t turn;

bool near_last_coupon(const char *user, const char *coupon) {
    uint64_t number = strtoull(coupon, NULL, 10);
    size_t at = 0;
    for (size_t i = 0; i < USERS; i++) {
        if (last[i].used > 0 && strcmp(last[i].user, user) == 0) {
            at = i;
            break;
        }
        if (last[i].used < last[at].used)
            at = i;
    }
    bool known = last[at].used > 0 && strcmp(last[at].user, user) == 0;
    uint64_t before = last[at].number;
    uint64_t distance = number > before ? number - before : before - number;
    (void)snprintf(last[at].user, sizeof last[at].user, "%s", user);
    last[at].number = number;
    last[at].used = ++turn;
    return known && distance > 0 && distance <= NEAR;
}
