/* What a program is made of: the versions of the libraries that it runs with, and where they are
 * (C145).  Asked of the libraries themselves, and only of those that the program is linked with. */
#ifndef VRS_LIB_VERSION_H
#define VRS_LIB_VERSION_H

#include <stdio.h>

/* "program", then one line a library: name, version, path. */
void version_print(FILE *f, const char *program);

#endif
