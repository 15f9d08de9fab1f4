# What is done to shared memory in one step, whatever other processes do at the same moment.

from libc.stdint cimport int64_t, uint64_t

cdef extern from *:
    """
    #define mta_swap(place, old, value) __sync_bool_compare_and_swap(place, old, value)
    #define mta_grow(place, amount) __atomic_add_fetch(place, amount, __ATOMIC_SEQ_CST)
    #define mta_read(place) __atomic_load_n(place, __ATOMIC_SEQ_CST)
    #define mta_write(place, value) __atomic_store_n(place, value, __ATOMIC_SEQ_CST)
    """
    bint mta_swap(uint64_t *place, uint64_t old, uint64_t value) nogil
    int64_t mta_grow(int64_t *place, int64_t amount) nogil
    uint64_t mta_read(uint64_t *place) nogil
    int64_t mta_read_count "mta_read"(int64_t *place) nogil
    void mta_write(uint64_t *place, uint64_t value) nogil
    void mta_write_count "mta_write"(int64_t *place, int64_t value) nogil
