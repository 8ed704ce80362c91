/* Japanese text for comparison and limits; what is stored is always what was written.
 *
 * Names keep every character (髙, 﨑, IVS sequences).  Searching compares folded forms. */
#ifndef VRS_LIB_TEXT_H
#define VRS_LIB_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"

/* The code point at *p, which moves on; 0x110000 (and one byte on) when that is not UTF-8. */
uint32_t text_decode(const char **p, const char *end);
bool text_valid_utf8(const char *s, size_t n);
size_t text_chars(const char *s); /* code points, variation selectors not counted */
/* No control characters (C0, DEL, C1, U+2028/9, bidi controls). */
bool text_printable(const char *s);
/* Full-width ASCII and digits → half-width, upper case, spaces (also U+3000) and hyphens removed:
 * for lots and codes. */
void text_fold_code(const char *s, struct buffer *out);
/* Half-width katakana → full-width (with voiced marks joined), hiragana → katakana, small kana and
 * long marks kept, spaces and middle dots removed: for kana search. */
void text_fold_kana(const char *s, struct buffer *out);
/* Variants 髙→高 﨑→崎 𠮷→吉 … (table), variation selectors dropped, spaces removed, full-width
 * ASCII → half-width, upper case: for name search. */
void text_fold_name(const char *s, struct buffer *out);
bool text_starts_with(const char *s, const char *prefix);
/* The decimal digits at *p, which moves behind them; no sign, no space before them.  false: there
 * is none, or the number is above max; *p stays. */
bool text_u64(const char **p, uint64_t max, uint64_t *out);
/* Full-width digits → ASCII digits in place; other bytes untouched. */
void text_ascii_digits(char *s);

#endif
