internal import Timing

/// The message IDs of our own towards one peer: a random start, then counting up, and none twice within a lifetime
/// (RFC 7252, section 4.4).
///
/// The 65,536 IDs are eight blocks. Only the time of the last ID of each block is kept, and a block is entered again only
/// when that time is a lifetime ago: 36 bytes instead of one time for each ID, at the price of an eighth of the rate.
struct MessageIDs: Sendable {
    private static let blockSize: UInt32 = 8192
    static let blocks = 8

    private(set) var next: UInt16
    /// Tick of the last ID of each block; 0 for a block that was never used.
    private(set) var lastUse = SIMD8<UInt32>(repeating: 0)
    /// How many IDs were issued so far.
    private(set) var issued: Int = 0

    init(first: UInt16) {
        self.next = first
    }

    /// Goes on where another one has ended. `lastUse` has ``blocks`` entries; missing ones count as never used.
    init(first: UInt16, lastUse: [UInt32]) {
        self.next = first
        for (block, tick) in lastUse.prefix(Self.blocks).enumerated() { self.lastUse[block] = tick }
    }

    /// The next ID, or nil while it might still be remembered by the peer.
    mutating func issue(tick: UInt32, lifetime: UInt32) -> UInt16? {
        guard self.isOpen(tick: tick, lifetime: lifetime) else { return nil }
        let id = self.next
        self.lastUse[Self.block(of: id)] = tick
        self.next &+= 1
        self.issued &+= 1
        return id
    }

    /// How many IDs can be issued now.
    func available(tick: UInt32, lifetime: UInt32) -> Int {
        guard self.isOpen(tick: tick, lifetime: lifetime) else { return 0 }
        var available = Int(Self.blockSize - UInt32(self.next) % Self.blockSize)
        var block = (Self.block(of: self.next) + 1) % Self.blocks
        for _ in 1..<Self.blocks {
            guard self.isFree(block, tick: tick, lifetime: lifetime) else { break }
            available += Int(Self.blockSize)
            block = (block + 1) % Self.blocks
        }
        return available
    }

    private func isOpen(tick: UInt32, lifetime: UInt32) -> Bool {
        let isAtStartOfBlock = UInt32(self.next) % Self.blockSize == 0
        return !isAtStartOfBlock || self.isFree(Self.block(of: self.next), tick: tick, lifetime: lifetime)
    }

    private func isFree(_ block: Int, tick: UInt32, lifetime: UInt32) -> Bool {
        let last = self.lastUse[block]
        return last == 0 || (tick > last && tick &- last > lifetime)
    }

    private static func block(of id: UInt16) -> Int {
        Int(UInt32(id) / Self.blockSize)
    }
}
