import Testing

@testable import Gateway

@Suite("The memory of look-ups")
struct ResolutionCacheTests {
    @Test("It never holds more than two generations")
    func bounded() {
        var cache = ResolutionCache<Int, Int>(capacity: 10)
        for number in 0..<1000 { cache.insert(number, for: number) }
        #expect(cache.count <= 20)
        #expect(cache.value(for: 999) == 999)
        #expect(cache.value(for: 0) == nil)
    }

    @Test("What is used stays")
    func usedStays() {
        var cache = ResolutionCache<Int, Int>(capacity: 10)
        cache.insert(-1, for: -1)
        for number in 0..<1000 {
            cache.insert(number, for: number)
            #expect(cache.value(for: -1) == -1)
        }
    }

    @Test("Removed and stale entries are gone from both generations")
    func removal() {
        var cache = ResolutionCache<Int, Int>(capacity: 4)
        for number in 0..<6 { cache.insert(number, for: number) }
        cache.remove(1)
        cache.removeAll { $0.isMultiple(of: 2) }
        #expect([0, 1, 2, 3, 4, 5].filter { cache.value(for: $0) != nil } == [3, 5])
    }
}
