/* A vaccination coupon (接種券): 18 digits = 券種 (1) + 回数 (1) + 市区町村コード (6) + 券番号
 * (10).
 *
 * Rules: municipality check digit (weights 6 5 4 3 2, mod 11), 個人番号 check digit (番号法省令),
 * both as in the public 全国地方公共団体コード and 個人番号 definitions. */
#ifndef OCR_INGEST_COUPON_H
#define OCR_INGEST_COUPON_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

struct municipality_code {
    char digits[7]; /* six ASCII digits, NUL */
};
struct coupon_number {
    char digits[11];
};

enum coupon_kind { COUPON_EXAMINED_ONLY = 1, COUPON_VACCINATION = 2 }; /* 予診のみ, 接種 */

struct coupon {
    enum coupon_kind kind;
    int dose_number; /* 1..9 */
    struct municipality_code municipality;
    struct coupon_number number;
};

/* Six digits with a right check digit: says nothing about existence. */
bool municipality_code_valid(const char *digits);
VRS_CHECK bool municipality_code_set(struct municipality_code *out, const char *digits);
VRS_CHECK bool coupon_number_set(struct coupon_number *out, const char *digits);
/* Form and check digit of a 個人番号 (12 digits; all zeros refused). Works on a borrowed string and
 * keeps nothing. */
bool personal_number_valid(const char *digits);
void coupon_format(const struct coupon *c, char out[19]); /* the 18 digits */

/* The municipalities of Japan, from data/municipalities.csv (code,prefecture,name,kana). */
struct municipality {
    struct municipality_code code;
    char prefecture[16]; /* 東京都 */
    char name[64];       /* 港区 */
    char kana[96];
};
struct municipality_list;
VRS_CHECK enum vrs_err municipality_list_open(const char *csv_path, struct municipality_list **out,
                                              struct vrs_fault *fault);
void municipality_list_close(struct municipality_list **l);
size_t municipality_count(const struct municipality_list *l);
const struct municipality *municipality_at(const struct municipality_list *l,
                                           size_t i); /* sorted by code */
const struct municipality *municipality_find(const struct municipality_list *l, const char *code);

#endif
