/* Names of suspect rules → what the person reads, from data/rules.json.  Read-only after opening.
 */
#ifndef TABLET_API_WARNING_H
#define TABLET_API_WARNING_H

#include "lib/buffer.h"
#include "lib/err.h"

struct warning_list;

VRS_CHECK enum vrs_err warning_list_open(const char *json_path, struct warning_list **out,
                                         struct vrs_fault *fault);
void warning_list_close(struct warning_list **l);
/* Space-separated names → [{"code": …, "detail": …}, …]; a name that is not known keeps its code
 * and a general text. */
void warning_write(const struct warning_list *l, const char *names, struct buffer *out);

#endif
