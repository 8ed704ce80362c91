// needs: tablet-api/intake.c tablet-api/line.c
/* The body of POST /v1/doses, and a line of :batch: any bytes; what is accepted seals and reads. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/text.h"
#include "tablet-api/intake.h"

static void must(bool holds) {
    if (!holds)
        abort();
}

static struct intake_rules *world(void) {
    static struct intake_rules rules;
    static struct municipality_list *municipalities;
    static struct vaccine_list *vaccines;
    struct vrs_fault fault;
    if (municipalities == NULL) {
        must(municipality_list_open("data/municipalities.csv", &municipalities, &fault) == VRS_OK);
        must(vaccine_list_open("data/vaccines.json", &vaccines, &fault) == VRS_OK);
        rules = (struct intake_rules){.municipalities = municipalities,
                                      .vaccines = vaccines,
                                      .now_ms = 1735689600000,
                                      .clock_tolerance_ms = 120000};
    }
    return &rules;
}

static void accepted(const struct intake *in) {
    struct line_dose again;
    struct buffer b, c;
    uint8_t mac[32];
    must(strlen(in->dose.ocr_line) == 18 &&
         memcmp(in->dose.ocr_line + 2, in->municipality, 6) == 0);
    must(in->dose.site[0] != '\0' && text_printable(in->dose.site));
    must(!in->dose.given || in->dose.product[0] != '\0');
    must(strlen(in->dose.vaccinated_on) == 10);
    buffer_init(&b, 4096);
    line_dose_encode(&in->dose, &b);
    must(line_dose_decode(b.data, b.len, &again) == VRS_OK);
    buffer_init(&c, 4096);
    line_dose_encode(&again, &c);
    must(b.len == c.len && memcmp(b.data, c.data, b.len) == 0);
    buffer_fini(&c);
    intake_dose_mac("key", &in->dose, mac);
    buffer_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct intake_rules *rules = world();
    struct intake_refusal no;
    struct intake in;
    for (int batch = 0; batch <= 1; batch++) {
        if (intake_read(rules, data, size, batch == 1, "Wed, 01 Jan 2025 00:00:00 GMT", &in, &no) ==
            VRS_OK) {
            accepted(&in);
        } else {
            must(no.fault.err != VRS_OK && err_status(no.fault.err) < 500);
            must(no.candidates <= REPAIR_MAX_CANDIDATES);
            json_decref(intake_extra(&no));
        }
    }
    return 0;
}
