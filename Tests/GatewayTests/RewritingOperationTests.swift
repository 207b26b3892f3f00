import Gateway
import LwM2M
import Testing

@Suite("Rewriting: what a request asks for")
struct RewritingOperationTests {
    private static let get: UInt8 = 1
    private static let post: UInt8 = 2
    private static let put: UInt8 = 3
    private static let delete: UInt8 = 4

    private static func server(_ method: UInt8, _ path: [String], accept: UInt16? = nil) -> BootstrapOperation {
        BootstrapOperation(from: .server, method: method, path: path, accept: accept)
    }

    @Test("POST /bs opens a bootstrap from the device and ends it from the server")
    func direction() {
        #expect(BootstrapOperation(from: .device, method: Self.post, path: ["bs"]) == .request)
        #expect(Self.server(Self.post, ["bs"]) == .finish)
    }

    @Test("T40: a bootstrap pack gets 5.01")
    func pack() {
        #expect(BootstrapOperation(from: .device, method: Self.get, path: ["bspack"]) == .refused(code: 0xA1))
        #expect(BootstrapOperation(from: .device, method: Self.post, path: ["bspack"]) == .refused(code: 0x85))
    }

    @Test(
        "T15: from the device /bs is one path alone; with a prefix, and all else, it belongs to other interfaces",
        arguments: [["rd"], ["x", "bs"], ["bs", ""], [], ["0"], ["BS"]]
    )
    func otherFromDevice(path: [String]) {
        #expect(BootstrapOperation(from: .device, method: Self.post, path: path) == .other)
        #expect(BootstrapOperation(from: .device, method: Self.get, path: ["bs"]) == .refused(code: 0x85))
    }

    @Test("T26: writes go to an object, an instance or a resource")
    func writes() {
        #expect(Self.server(Self.put, ["0"]) == .write(LwM2MPath(0)))
        #expect(Self.server(Self.put, ["0", "1"]) == .write(LwM2MPath(0, 1)))
        #expect(Self.server(Self.put, ["3", "0", "14"]) == .write(LwM2MPath(3, 0, 14)))
        #expect(Self.server(Self.put, []) == .refused(code: 0x80))
        #expect(Self.server(Self.put, [""]) == .refused(code: 0x80))
        #expect(Self.server(Self.put, ["0", "0", "16", "0"]) == .refused(code: 0x85))
    }

    @Test("T37: the root is deleted with no segment and with one empty one; a resource never is")
    func deletes() {
        #expect(Self.server(Self.delete, []) == .delete(.root))
        #expect(Self.server(Self.delete, [""]) == .delete(.root))
        #expect(Self.server(Self.delete, ["0"]) == .delete(LwM2MPath(0)))
        #expect(Self.server(Self.delete, ["0", "1"]) == .delete(LwM2MPath(0, 1)))
        #expect(Self.server(Self.delete, ["0", "1", "5"]) == .refused(code: 0x80))
        #expect(Self.server(Self.delete, ["", ""]) == .refused(code: 0x80))
        #expect(Self.server(Self.delete, ["bs"]) == .refused(code: 0x80))
    }

    @Test("GET with Accept 40 discovers, on the root and on objects")
    func discovers() {
        #expect(Self.server(Self.get, [], accept: 40) == .discover(.root))
        #expect(Self.server(Self.get, []) == .discover(.root))
        #expect(Self.server(Self.get, ["0"], accept: 40) == .discover(LwM2MPath(0)))
        #expect(Self.server(Self.get, ["0", "0"], accept: 40) == .refused(code: 0x80))
    }

    @Test("T35: GET in another format, or in any, reads objects 1 and 2 and no other")
    func reads() {
        for accept: UInt16? in [nil, 11542, 112] {
            #expect(Self.server(Self.get, ["1"], accept: accept) == .read(LwM2MPath(1)))
            #expect(Self.server(Self.get, ["2", "0"], accept: accept) == .read(LwM2MPath(2, 0)))
            for path in [["0"], ["0", "0"], ["0", "0", "5"], ["1", "0", "0"], ["3", "0"], ["21"]] {
                #expect(Self.server(Self.get, path, accept: accept) == .refused(code: 0x85), "\(path)")
            }
        }
        #expect(Self.server(Self.get, [], accept: 11542) == .refused(code: 0x85))
    }

    @Test(
        "T26: a path in any other spelling gets 4.00",
        arguments: [["00"], ["0", ""], ["", "0"], ["65536"], ["0", "+1"], ["bs", "x"]]
    )
    func spelling(path: [String]) {
        for method in [Self.get, Self.put, Self.delete] {
            #expect(Self.server(method, path) == .refused(code: 0x80))
        }
    }

    @Test("Execute, Create, composite operations and unknown methods get 4.05")
    func notBootstrap() {
        for path in [["1", "0", "9"], ["3"], ["bs", ""], ["bspack"], []] {
            #expect(Self.server(Self.post, path) == .refused(code: 0x85))
        }
        for method: UInt8 in [0, 5, 6, 7, 8, 31] {
            #expect(Self.server(method, ["3", "0"]) == .refused(code: 0x85))
        }
    }
}
