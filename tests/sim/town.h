/* Two towns, their vrs-server, vrs-number and vrs-signer, and tablet-api outside: the real code of the
 * inbox, the line, the partitions with their log, the numbers and the signer's heads, on the
 * simulated disk and machine.  Processes can be killed and started; what stands in for the rest (alerts,
 * snapshot, queries) is in inside.c and outside.c. */
#ifndef TESTS_SIM_TOWN_H
#define TESTS_SIM_TOWN_H

#include "partitions/pool.h"
#include "tablet-api/inbox.h"
#include "tablet-api/tablet.h"
#include "tests/sim/disk.h"
#include "tests/sim/machine.h"
#include "vrs-server/number/area.h"
#include "vrs-server/server.h"
#include "vrs-server/signer/heads.h"

#define TOWN "131032"  /* has residents and its files from the start */
#define OTHER "462012" /* gets its files when something comes for it */

enum { TOWN_RESIDENTS = 3, TOWN_COUPONS = 5 /* two are registered to nobody yet */ };

struct town {
    struct server server;
    struct tablet tablet;
    struct keyring *number_keys;
    struct area *area;
    struct heads *heads;
    bool up[DISK_PARTS];
    struct secret_key line_key; /* the inbox's, private */
    struct vrs_fault fault;
    uint64_t kills, losses, starts[DISK_PARTS];
};
extern struct town town;

/* Once: the lists of data/ are read, and a disk is kept with a town on it. */
void town_found(void);
/* Kills what runs (without a word on the disk), takes the kept disk anew. */
void town_begin(uint64_t seed, const struct machine_network *network);
void town_end(void);

/* VRS_OK, or why it cannot start: then it is not up. */
VRS_CHECK enum vrs_err town_start(enum disk_part part);
void town_kill(enum disk_part part); /* kill -9 */
/* All that run die with the power; then it is back. */
void town_power_loss(void);

/* coupon 0 … TOWN_COUPONS - 1 of a municipality */
void town_coupon(int coupon, char digits[11]);
void town_number(int resident, char digits[13]); /* 個人番号 */

/* A pool job that registers a resident with number and coupon, as an import does. */
struct town_registration {
    struct pool_job job; /* first */
    int coupon;
    struct record_id row, person; /* of the number, of the resident: drawn by the caller */
};
VRS_CHECK enum vrs_err town_register(struct town_registration *r, const char *municipality);

#endif
