#ifndef BOOTGATE_CCOAP_SHIM_H
#define BOOTGATE_CCOAP_SHIM_H

#include <coap3/coap.h>

#endif
