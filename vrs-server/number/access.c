#include "vrs-server/number/access.h"

#include <string.h>

#define ANY "*"

static const struct {
    enum number_verb verb;
    const char *right;
    const char *purpose;
} table[] = {
    {NUMBER_PUT, "resident.register", ANY},
    {NUMBER_MATCH, "resident.register", "register"},
    {NUMBER_MATCH, "inquire", "transfer_in"},
    {NUMBER_MATCH, "inquire", "certificate"},
    {NUMBER_MATCH, "inquire.bulk", "transfer_in"},
    {NUMBER_MATCH, "inquiry.approve", "transfer_out_answer"},
    {NUMBER_MATCH, "number.search", "transfer_in"},
    {NUMBER_MATCH, "number.search", "transfer_out_answer"},
    {NUMBER_MATCH, "number.search", "certificate"},
    {NUMBER_MATCH, "certificate", "certificate"},
    {NUMBER_REVEAL, "number.reveal", "transfer_in"},
    {NUMBER_REVEAL, "number.reveal", "transfer_out_answer"},
    {NUMBER_REVEAL, "number.reveal", "certificate"},
};

enum vrs_err number_access_check(enum number_verb verb, const char *right, const char *purpose,
                                 const char *user) {
    if (verb != NUMBER_PUT && verb != NUMBER_MATCH && verb != NUMBER_REVEAL)
        return VRS_OK;
    if (verb == NUMBER_REVEAL && user[0] == '\0')
        return ERR_FORBIDDEN;
    enum vrs_err e = ERR_FORBIDDEN;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].verb != verb || strcmp(table[i].right, right) != 0)
            continue;
        if (strcmp(table[i].purpose, ANY) == 0 || strcmp(table[i].purpose, purpose) == 0)
            return VRS_OK;
        e = ERR_PURPOSE;
    }
    return e;
}
