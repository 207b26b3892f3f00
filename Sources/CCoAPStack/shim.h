#ifndef BOOTGATE_CCOAPSTACK_SHIM_H
#define BOOTGATE_CCOAPSTACK_SHIM_H

#include <coap3/coap.h>

#endif
