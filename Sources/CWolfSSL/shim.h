#ifndef BOOTGATE_CWOLFSSL_SHIM_H
#define BOOTGATE_CWOLFSSL_SHIM_H

// The options that the library was built with come first: they decide the layout of its structures.
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#endif
