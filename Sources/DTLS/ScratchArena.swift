internal import Glibc

/// Memory that all sessions of a context share for what they hand out: pieces of bytes, each with its owner. It is used
/// from front to back and starts over when everything was taken, so that the steady state allocates nothing.
final class ScratchArena {
    private struct Piece {
        var owner: UInt64
        var offset: Int
        var count: Int
    }

    private let memory: UnsafeMutableRawBufferPointer
    /// Overwritten when it was taken: plaintext, which may carry keys.
    private let isSensitive: Bool
    private var used = 0
    private var pieces: [Piece] = []
    /// How many pieces of `pieces` were not taken yet.
    private var waiting = 0
    /// How many readers stand between `take` and its end: the memory must not start over under them.
    private var lent = 0

    /// Pieces that were lost because nobody takes what is here.
    private(set) var overflows = 0

    init(capacity: Int, isSensitive: Bool) {
        self.memory = .allocate(byteCount: capacity, alignment: 16)
        self.isSensitive = isSensitive
        self.pieces.reserveCapacity(16)
    }

    deinit {
        self.wipe()
        self.memory.deallocate()
    }

    /// Free memory at the end, to be written and then kept with ``keep(_:for:)``.
    var free: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: self.memory[self.used...])
    }

    /// Makes a piece of the first `count` bytes of ``free``.
    func keep(_ count: Int, for owner: UInt64) {
        self.pieces.append(Piece(owner: owner, offset: self.used, count: count))
        self.used += count
        self.waiting += 1
    }

    func append(_ bytes: UnsafeRawBufferPointer, for owner: UInt64) {
        guard self.makeRoom(for: bytes.count) else { return }
        self.free.copyMemory(from: bytes)
        self.keep(bytes.count, for: owner)
    }

    /// Whether ``free`` has `count` bytes. When it is full, what nobody has taken is given up, so that one session that
    /// is never drained cannot silence all others.
    func makeRoom(for count: Int) -> Bool {
        if count <= self.memory.count - self.used { return true }
        guard self.lent == 0, count <= self.memory.count else {
            self.overflows &+= 1
            return false
        }
        self.overflows &+= self.waiting
        self.waiting = 0
        self.startOver()
        return true
    }

    /// Lends the oldest piece of `owner` and forgets it; false when there is none.
    func take(for owner: UInt64, _ body: (UnsafeRawBufferPointer) -> Void) -> Bool {
        guard self.waiting > 0, let index = self.pieces.firstIndex(where: { $0.owner == owner }) else { return false }
        let piece = self.pieces[index]
        self.pieces[index].owner = 0
        self.waiting -= 1
        self.lent += 1
        body(UnsafeRawBufferPointer(rebasing: self.memory[piece.offset..<piece.offset + piece.count]))
        self.lent -= 1
        self.startOver()
        return true
    }

    /// Forgets everything of `owner`.
    func discard(for owner: UInt64) {
        guard self.waiting > 0 else { return }
        for index in self.pieces.indices where self.pieces[index].owner == owner {
            self.pieces[index].owner = 0
            self.waiting -= 1
        }
        self.startOver()
    }

    private func startOver() {
        guard self.waiting == 0, self.lent == 0 else { return }
        if self.isSensitive { self.wipe() }
        self.pieces.removeAll(keepingCapacity: true)
        self.used = 0
    }

    private func wipe() {
        // Not `memset`: the compiler may drop a write to memory that is not read again.
        if let base = self.memory.baseAddress, self.used > 0 { explicit_bzero(base, self.used) }
    }
}
