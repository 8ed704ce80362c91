/* Every route of the LG-WAN side: the one table that drives dispatch, rights, OpenAPI comparison
 * and the isolation matrix. */
#ifndef VRS_SERVER_ROUTES_H
#define VRS_SERVER_ROUTES_H

#include "lib/route.h"

extern const struct route lgwan_routes[];

#endif
