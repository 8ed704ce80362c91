// needs: vrs-server/accounts/account.c vrs-server/right.c
/* plant_right STATE_DIR KEK_DIR USER RIGHTS: writes rights into a stored account of a stopped
 * vrs-server, whatever they are — what a newer program or a mistaken restore could leave. */
#include <stdio.h>
#include <string.h>

#include "partitions/key_file.h"
#include "vrs-server/accounts/account.h"

int main(int argc, char **argv) {
    struct keyring *keys = NULL;
    struct partition *registry = NULL;
    struct vrs_fault fault = {0};
    struct account a;
    char keys_dir[512], dir[512];
    if (argc != 5)
        return 2;
    (void)snprintf(keys_dir, sizeof keys_dir, "%s/keys", argv[1]);
    (void)snprintf(dir, sizeof dir, "%s/partitions", argv[1]);
    enum vrs_err e = keyring_open(keys_dir, &kek_file, argv[2], 1U << KEY_RECORDS | 1U << KEY_LOG,
                                  &keys, &fault);
    if (e == VRS_OK)
        e = partition_open(&store_sqlite, dir, "000000", keys, 0, &registry, &fault);
    if (e == VRS_OK)
        e = partition_begin(registry);
    if (e == VRS_OK)
        e = account_get(registry, argv[3], &a);
    if (e == VRS_OK) {
        (void)snprintf(a.rights, sizeof a.rights, "%s", argv[4]);
        e = account_mark(registry, &a);
    }
    if (e == VRS_OK)
        e = partition_commit(registry);
    if (registry != NULL)
        partition_close(&registry);
    if (keys != NULL)
        keyring_close(&keys);
    if (e != VRS_OK)
        (void)fprintf(stderr, "plant_right: %s %s\n", err_name(e), fault.text);
    return e == VRS_OK ? 0 : 1;
}
