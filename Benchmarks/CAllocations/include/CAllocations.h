#ifndef BOOTGATE_ALLOCATIONS_H
#define BOOTGATE_ALLOCATIONS_H

#include <stdint.h>

/// Allocations of this process since it began. The program links its own malloc, calloc, realloc and posix_memalign, which
/// count and hand on to the C library's.
uint64_t bootgate_allocations(void);

/// Bytes that are allocated now, and the most that were since the last reset.
int64_t bootgate_allocated_bytes(void);
int64_t bootgate_peak_bytes(void);
void bootgate_reset_peak(void);

#endif
