import Secrets
import Testing
import Timing

@testable import Gateway

@Suite("Who has to wait for wrong keys")
struct BackOffTableTests {
    private let start = Instant(nanoseconds: 1_000_000_000)
    private static let here: UInt64 = 0xC000_0201
    private static let elsewhere: UInt64 = 0xC000_0202

    private func identity(_ name: String) throws -> PSKIdentity { try #require(PSKIdentity(name)) }

    private func fail(
        _ table: inout BackOffTable, _ identity: PSKIdentity, at source: UInt64 = Self.here, times: Int, now: Instant
    ) -> [Duration?] {
        (0..<times).map { _ in table.failed(identity, at: source, longest: .seconds(60), now: now) }
    }

    @Test("The first failures cost nothing, each further one doubles the pause up to the longest")
    func pauses() throws {
        var table = BackOffTable()
        let meter = try self.identity("meter")
        let pauses = self.fail(&table, meter, times: 8, now: self.start)
        #expect(pauses.map { $0?.components.seconds } == [nil, nil, 10, 20, 40, 60, 60, 60])
        #expect(table.isBackedOff(meter, at: Self.here, now: self.start + .seconds(59)))
        #expect(!table.isBackedOff(meter, at: Self.here, now: self.start + .seconds(60)))
    }

    @Test("The same identity elsewhere, and another identity here, do not wait")
    func neverTheIdentityAlone() throws {
        var table = BackOffTable()
        let meter = try self.identity("meter")
        _ = self.fail(&table, meter, times: 30, now: self.start)
        #expect(table.isBackedOff(meter, at: Self.here, now: self.start))
        #expect(!table.isBackedOff(meter, at: Self.elsewhere, now: self.start))
        #expect(!table.isBackedOff(try self.identity("other"), at: Self.here, now: self.start))
    }

    @Test("A right key forgets the failures")
    func rightKey() throws {
        var table = BackOffTable()
        let meter = try self.identity("meter")
        _ = self.fail(&table, meter, times: 5, now: self.start)
        table.succeeded(meter, at: Self.here)
        #expect(!table.isBackedOff(meter, at: Self.here, now: self.start))
        let after = self.fail(&table, meter, times: 3, now: self.start)
        #expect(after.map { $0 == nil } == [true, true, false])
    }

    @Test("Failures are forgotten after ten minutes")
    func forgotten() throws {
        var table = BackOffTable()
        let meter = try self.identity("meter")
        _ = self.fail(&table, meter, times: 5, now: self.start)
        let after = self.fail(&table, meter, times: 1, now: self.start + BackOffTable.memory)
        #expect(after == [nil])
    }

    @Test("Pauses grow up to the longest also where they outlast the memory of failures")
    func longPauses() throws {
        var table = BackOffTable()
        let meter = try self.identity("meter")
        var now = self.start
        var pauses: [Int64] = []
        for _ in 0..<12 {
            let pause = table.failed(meter, at: Self.here, longest: .seconds(3600), now: now) ?? .zero
            pauses.append(pause.components.seconds)
            now += pause
        }
        #expect(pauses == [0, 0, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600])
    }

    @Test("A longest pause of zero switches it off")
    func switchedOff() throws {
        var table = BackOffTable()
        let meter = try self.identity("meter")
        for _ in 0..<10 { #expect(table.failed(meter, at: Self.here, longest: .zero, now: self.start) == nil) }
        #expect(!table.isBackedOff(meter, at: Self.here, now: self.start))
    }

    @Test("A full table forgets the oldest, and never makes anybody wait who has not failed")
    func full() throws {
        var table = BackOffTable(sets: 1)
        var now = self.start
        for number in 0..<50 {
            _ = self.fail(&table, try self.identity("identity-\(number)"), times: 3, now: now)
            now = now + .milliseconds(1)
        }
        let waiting = try (0..<50).filter {
            table.isBackedOff(try self.identity("identity-\($0)"), at: Self.here, now: now)
        }
        #expect(waiting == [46, 47, 48, 49])
        #expect(!table.isBackedOff(try self.identity("innocent"), at: Self.here, now: now))
    }
}
