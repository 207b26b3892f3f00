/// Plaintext of devices that one turn of the loop has opened and not worked off: messages in the order in which they came,
/// in one piece of memory that is used again.
///
/// A turn reads dozens of datagrams. Opening all of them first, then working them off, then sealing the answers keeps the
/// code of each stage in the processor's cache of instructions: with each datagram taken through all stages at once, a
/// seventh more of them have to be fetched anew (*measured*).
struct StagedMessages {
    /// Beyond this many bytes they are worked off before more are read.
    static let limit = 64 * 1024

    private var bytes: [UInt8] = []
    private var entries: [(session: DeviceSession, range: Range<Int>)] = []

    var isEmpty: Bool { self.entries.isEmpty }
    var isFull: Bool { self.bytes.count >= Self.limit }

    mutating func append(_ message: UnsafeRawBufferPointer, of session: DeviceSession) {
        let start = self.bytes.count
        self.bytes.append(contentsOf: message)
        self.entries.append((session, start..<self.bytes.count))
    }

    func forEach(_ body: (DeviceSession, UnsafeRawBufferPointer) -> Void) {
        self.bytes.withUnsafeBytes { bytes in
            for entry in self.entries { body(entry.session, UnsafeRawBufferPointer(rebasing: bytes[entry.range])) }
        }
    }

    /// Overwrites what was there, which may carry keys, and keeps the room.
    mutating func wipe() {
        self.bytes.withUnsafeMutableBytes { _ = $0.initializeMemory(as: UInt8.self, repeating: 0) }
        self.bytes.removeAll(keepingCapacity: true)
        self.entries.removeAll(keepingCapacity: true)
    }
}
