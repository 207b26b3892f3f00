internal import NIOCore

/// Outgoing datagrams of one turn of the loop, in one buffer that is used again and again.
///
/// Bytes are copied in one after the other; ``drain(_:)`` hands them out as slices of the one buffer. Slices taken
/// earlier would make each further write copy the whole buffer, so they are taken only at the end. The system normally
/// takes the datagrams at once; then nobody holds a slice any more, and the same memory serves the next turn.
struct DatagramArena<Destination> {
    private var buffer: ByteBuffer
    private var pending: [(offset: Int, length: Int, destination: Destination)] = []
    private let capacity: Int

    /// `capacity` in bytes; more is allowed, but ``isFull`` then says that it is time to drain.
    init(capacity: Int, allocator: ByteBufferAllocator = ByteBufferAllocator()) {
        self.capacity = capacity
        self.buffer = allocator.buffer(capacity: capacity)
    }

    var isEmpty: Bool { self.pending.isEmpty }
    var count: Int { self.pending.count }

    /// Another datagram of usual size might make the buffer grow.
    var isFull: Bool { self.buffer.writerIndex + 2048 > self.capacity }

    mutating func append(_ bytes: UnsafeRawBufferPointer, to destination: Destination) {
        let offset = self.buffer.writerIndex
        self.buffer.writeBytes(bytes)
        self.pending.append((offset, bytes.count, destination))
    }

    /// Hands out everything in order and starts anew. `body` must not append.
    mutating func drain(_ body: (ByteBuffer, Destination, _ isLast: Bool) -> Void) {
        guard let last = self.pending.indices.last else { return }
        for index in self.pending.indices {
            let (offset, length, destination) = self.pending[index]
            if let slice = self.buffer.getSlice(at: offset, length: length) {
                body(slice, destination, index == last)
            }
        }
        self.pending.removeAll(keepingCapacity: true)
    }

    /// Makes the memory ready for the next turn, after the channels were flushed: kept if no slice is held any more,
    /// new otherwise.
    mutating func recycle() { self.buffer.clear(minimumCapacity: self.capacity) }
}
