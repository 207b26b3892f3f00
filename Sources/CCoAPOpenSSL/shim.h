#ifndef BOOTGATE_CCOAPOPENSSL_SHIM_H
#define BOOTGATE_CCOAPOPENSSL_SHIM_H

#include <coap3/coap.h>

#endif
