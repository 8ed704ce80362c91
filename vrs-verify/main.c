#include "vrs-verify/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PATHS = 4096 };

static const char usage[] =
    "usage: vrs-verify log EXPORT.ndjson ... --key LOG.pub ... [--checkpoint FILE ...]\n"
    "       vrs-verify receipt RECEIPT.json --key LOG.pub ...\n"
    "       vrs-verify entries LIST.ndjson --key LOG.pub ...\n"
    "       vrs-verify statement STATEMENT.json --key LOG.pub ...\n"
    "\n"
    "  EXPORT      GET /v1/access-log/export; several files go on from one another\n"
    "  --key       public keys of the log: the answer of /v1/log/keys, or 64 hex digits each\n"
    "  --checkpoint  signed heads that were kept elsewhere: as published, or a receipt\n"
    "  LIST        who looked at a person, with proofs: GET /v1/residents/{id}/access-log\n"
    "  RECEIPT     the answer to a dose with the fields that were posted (docs/proof.md)\n"
    "  STATEMENT   a certificate of an erasure (GET /v1/erasures/{id}/certificate), a manifest of "
    "a\n"
    "              migration: text, kind and signature\n"
    "\n"
    "exit 0: nothing wrong / 異常なし   1: something is / 異常あり   2: usage\n";

int main(int argc, char **argv) {
    static struct verifier v;
    static char *paths[MAX_PATHS];
    size_t count = 0;
    bool log = argc > 1 && strcmp(argv[1], "log") == 0, good = true;
    bool receipt = argc > 1 && strcmp(argv[1], "receipt") == 0;
    bool statement = argc > 1 && strcmp(argv[1], "statement") == 0;
    if (!log && !receipt && !statement && (argc < 2 || strcmp(argv[1], "entries") != 0)) {
        (void)fputs(usage, stderr);
        return 2;
    }
    for (int i = 2; i < argc && good; i++) {
        bool key = strcmp(argv[i], "--key") == 0;
        bool checkpoint = strcmp(argv[i], "--checkpoint") == 0;
        if (key || checkpoint)
            good = ++i < argc && (key ? key_read(&v, argv[i]) : points_read(&v, argv[i]));
        else if ((good = argv[i][0] != '-' && count < MAX_PATHS))
            paths[count++] = argv[i];
    }
    if (!good || count == 0 || v.keys.count == 0 || (!log && count > 1)) {
        if (v.bad == 0)
            (void)fputs(usage, stderr);
        free(v.points);
        return 2;
    }
    if (log)
        verify_log(&v, paths, count);
    else if (receipt)
        verify_receipt(&v, paths[0]);
    else if (statement)
        verify_statement(&v, paths[0]);
    else
        verify_entries(&v, paths[0]);
    if (v.bad == 0)
        say_good("検証の結果、異常はありません。", "Verified: nothing is wrong.");
    free(v.points);
    return v.bad == 0 ? 0 : 1;
}
