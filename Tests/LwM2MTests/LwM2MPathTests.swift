import LwM2M
import Testing

@Suite("Paths")
struct LwM2MPathTests {
    @Test(
        "A path of 0 to 4 levels reads back as it was written",
        arguments: [[], ["0"], ["0", "1"], ["3", "0", "65535"], ["65535", "10", "255", "0"]]
    )
    func canonical(segments: [String]) throws {
        let path = try LwM2MPath(segments: segments)
        #expect(path.segments == segments)
        #expect(path.count == segments.count)
        #expect(path.description == "/" + segments.joined(separator: "/"))
    }

    @Test("T37: one empty segment is the root")
    func emptySegment() throws { #expect(try LwM2MPath(segments: [""]) == .root) }

    @Test(
        "T26: any other spelling is refused",
        arguments: [
            (["00", "1"], 0), (["0", "01"], 1), (["", "0"], 0), (["", ""], 0), (["0", "0", ""], 2), (["65536"], 0),
            (["99999"], 0), (["100000"], 0), (["+1"], 0), (["-0"], 0), ([" 1"], 0), (["1 "], 0), (["0x1"], 0),
            (["1e1"], 0), (["٣"], 0), (["0", "bs"], 1), ([".."], 0), (["0/1"], 0),
        ]
    )
    func refuses(segments: [String], level: Int) {
        #expect(throws: LwM2MPath.ParseError.notAnIdentifier(level: level)) { try LwM2MPath(segments: segments) }
    }

    @Test("A fifth level is refused")
    func tooDeep() {
        #expect(throws: LwM2MPath.ParseError.tooDeep) { try LwM2MPath(segments: ["0", "0", "0", "0", "0"]) }
    }

    @Test("A path knows its levels, and what it lies within")
    func levels() {
        let path = LwM2MPath(0, 1, 5)
        #expect(path.objectID == 0 && path.instanceID == 1 && path.resourceID == 5 && path.resourceInstanceID == nil)
        #expect(path.isWithin(.root) && path.isWithin(LwM2MPath(0)) && path.isWithin(LwM2MPath(0, 1)))
        #expect(path.isWithin(path) && !path.isWithin(LwM2MPath(0, 2)) && !LwM2MPath(0).isWithin(path))
        #expect(LwM2MPath(0) != LwM2MPath(0, 0) && .root != LwM2MPath(0))
    }
}
