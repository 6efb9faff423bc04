// SPDX-License-Identifier: Apache-2.0
#include "sys/bpf.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>

#include "sys/bpf_place.h"
#include "sys/test_netns.h"

SLUICE_BPF_OBJECT(refused);
SLUICE_BPF_OBJECT(nothing);

namespace sluice::sys {
namespace {

TEST(VerifierReason, IsTheLastLineThatIsNoCount) {
  EXPECT_EQ(verifier_reason(
                "0: R1=ctx(off=0,imm=0) R10=fp0\n"
                "1: (71) r0 = *(u8 *)(r1 +0)\n"
                "invalid access to packet, off=0 size=1, R1(id=0,off=0,r=0)\n"
                "R1 offset is outside of the packet\n"
                "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"),
            "R1 offset is outside of the packet");
  EXPECT_EQ(verifier_reason("libbpf: failed to find valid kernel BTF\n"), "failed to find valid kernel BTF");
  EXPECT_EQ(verifier_reason("a reason\n\nverification time 5 usec\nstack depth 0\nprocessed 1 insns\n"), "a reason");
  EXPECT_EQ(verifier_reason(""), "");
  EXPECT_EQ(verifier_reason("no end of line"), "no end of line");
}

TEST(BpfObject, ARefusedProgramIsSaidToBeOneWithTheVerifiersReason) {
  auto object = BpfObject::open(SLUICE_BPF_IMAGE(refused));
  ASSERT_TRUE(object) << object.error().what;
  const auto loaded = object->load();
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Errc::kInvalid);
  EXPECT_NE(loaded.error().what.find("load refused: the kernel refuses a program: "), std::string::npos)
      << loaded.error().what;
  EXPECT_NE(loaded.error().what.find("outside of the packet"), std::string::npos) << loaded.error().what;
  EXPECT_EQ(loaded.error().what.find('\n'), std::string::npos) << loaded.error().what;
}

TEST(BpfObject, WhatIsNoObjectIsSaidToBeNone) {
  const std::byte bytes[64] = {};
  const auto object = BpfObject::open({"nonsense", bytes});
  ASSERT_FALSE(object);
  EXPECT_NE(object.error().what.find("open nonsense"), std::string::npos) << object.error().what;
}

TEST(BpfObject, AMapThatIsNotThereIsSaidToBeMissing) {
  auto object = BpfObject::open(SLUICE_BPF_IMAGE(refused));
  ASSERT_TRUE(object) << object.error().what;
  EXPECT_FALSE(object->set_entries("nonesuch", 1));
  EXPECT_EQ(object->map("nonesuch"), -1);
  EXPECT_EQ(object->program("nonesuch"), -1);
}

// Runs `body` on a thread with a mount and a network namespace of its own, and a BPF file system at /sys/fs/bpf if asked for.
template <typename Body>
void in_own_namespaces(bool with_bpf, Body body) {
  std::thread([&] {
    ASSERT_EQ(::unshare(CLONE_NEWNS | CLONE_NEWNET), 0) << "this test needs root";
    ASSERT_EQ(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0) << std::strerror(errno);
    const char* type = with_bpf ? "bpf" : "tmpfs";
    ASSERT_EQ(::mount(type, "/sys/fs/bpf", type, 0, nullptr), 0) << std::strerror(errno);
    body();
  }).join();
}

TEST(BpfFileSystem, IsFoundWhereItIsMounted) {
  in_own_namespaces(true, [] { EXPECT_EQ(find_bpf_file_system(), "/sys/fs/bpf"); });
}

// Runs BODY in a child and returns what BODY returned, as an exit status.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return 255;
  return WEXITSTATUS(status);
}

bool mount_over(const char* place, const char* type) {
  return ::mount(type, place, type, 0, nullptr) == 0;
}

// A machine of its own, in which the child is the first process and sees no BPF file system.
int on_a_bare_machine(const std::function<int()>& body) {
  return in_child([&body] {
    if (::unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) return 100;
    return in_child([&body] {
      if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 101;
      if (!mount_over("/proc", "proc") || !mount_over("/sys", "tmpfs") || !mount_over("/run", "tmpfs")) return 102;
      return body();
    });
  });
}

std::string pins_at(const std::string& place, const char* layout = "v1") {
  return place + "/sluice/" + layout + "/" + std::to_string(*netns_cookie());
}

// Any entry counts.
std::string a_pin_in(const std::string& pins) {
  return pins + "/map";
}

// It goes with the last that is pinned in it.
TEST(BpfFileSystem, IsMountedForTheFirstProcessWhereThereIsNone) {
  EXPECT_EQ(on_a_bare_machine([] {
              if (find_bpf_file_system()) return 1;
              // As of `ip netns exec`: what were mounted in here would be gone with this process.
              const int other = in_child([] {
                if (::unshare(CLONE_NEWNS) != 0) return 2;
                const auto made = make_netns_pins("v1");
                if (!made) return 3;
                return *made == pins_at("/proc/1/root/run/sluice/bpf") ? 0 : 4;
              });
              if (other != 0) return other;
              if (*has_netns_pins()) return 10;  // the folder is empty
              std::filesystem::create_directories(a_pin_in(pins_at("/run/sluice/bpf")));
              if (find_bpf_file_system() != "/run/sluice/bpf" || !*has_netns_pins()) return 5;
              const auto again = make_netns_pins("v1");
              if (!again || *again != pins_at("/run/sluice/bpf")) return 6;
              if (::unshare(CLONE_NEWNET) != 0 || !make_netns_pins("v2")) return 7;
              if (!remove_netns_pins() || *has_netns_pins()) return 8;
              return find_bpf_file_system() == "/run/sluice/bpf" ? 0 : 9;  // the first namespace's pins are in it
            }),
            0);
  EXPECT_EQ(on_a_bare_machine([] {
              if (!make_netns_pins("v1") || !make_netns_pins("v2")) return 1;
              const int other = in_child([] { return ::unshare(CLONE_NEWNS) == 0 && remove_netns_pins() ? 0 : 2; });
              if (other != 0) return other;
              return find_bpf_file_system() ? 3 : 0;
            }),
            0);
}

TEST(BpfFileSystem, OneThatIsNotOursStaysWhenItIsEmpty) {
  EXPECT_EQ(on_a_bare_machine([] {
              std::filesystem::create_directories("/sys/fs/bpf");
              if (!mount_over("/sys/fs/bpf", "bpf")) return 1;
              const auto made = make_netns_pins("v1");
              if (!made || *made != pins_at("/sys/fs/bpf")) return 2;
              return remove_netns_pins() && find_bpf_file_system() == "/sys/fs/bpf" ? 0 : 3;
            }),
            0);
}

// As a test mounts it, over ours: what the first process has there is none of its business.
TEST(BpfFileSystem, OneThatAnotherProcessHasMountedForItselfLeavesOursAlone) {
  EXPECT_EQ(on_a_bare_machine([] {
              std::filesystem::create_directories("/run/sluice/bpf");
              if (!mount_over("/run/sluice/bpf", "bpf")) return 1;
              const int other = in_child([] {
                if (::unshare(CLONE_NEWNS) != 0 || !mount_over("/run/sluice/bpf", "bpf")) return 2;
                const auto made = make_netns_pins("v1");
                if (!made || *made != pins_at("/run/sluice/bpf")) return 3;
                return remove_netns_pins() && !*has_netns_pins() ? 0 : 4;
              });
              if (other != 0) return other;
              return find_bpf_file_system() ? 0 : 5;
            }),
            0);
}

bool says(const Result<>& result, const std::string& reason) {
  return !result && result.error().what.find("none can be mounted at /run/sluice/bpf: " + reason +
                                             "; mount one: mount -t bpf bpf /sys/fs/bpf") != std::string::npos;
}

bool drop_from_this_process(unsigned capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
  if (::syscall(SYS_capget, &header, sets.data()) != 0) return false;
  sets.at(capability / 32).effective &= ~(1U << capability % 32);
  return ::syscall(SYS_capset, &header, sets.data()) == 0;
}

TEST(BpfFileSystem, WhatForbidsToMountOneIsNamedAlsoBeforeOneIsNeeded) {
  EXPECT_EQ(on_a_bare_machine([] {
              if (!can_have_bpf_file_system()) return 1;
              if (find_bpf_file_system()) return 2;  // nothing is changed
              if (::mount("none", "/run", nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0) return 3;
              const auto made = make_netns_pins("v1");
              if (made || !says(tl::unexpected(made.error()), "Read-only file system")) return 4;
              if (!says(can_have_bpf_file_system(), "Read-only file system")) return 5;
              if (!drop_from_this_process(CAP_SYS_ADMIN)) return 6;
              const auto none = can_have_bpf_file_system();
              if (!says(none, "this process lacks CAP_SYS_ADMIN")) return 7;
              return none.error().code == Errc::kPermission ? 0 : 8;
            }),
            0);
}

// Whoever mounts the usual one while pins are in ours must not make us forget them.
TEST(BpfFileSystem, TheOneWithPinsOfThisNamespaceIsFoundFirst) {
  EXPECT_EQ(on_a_bare_machine([] {
              const std::string own = "/run/sluice/bpf";
              const std::string usual = "/sys/fs/bpf";
              if (::unshare(CLONE_NEWNET) != 0) return 1;
              for (const std::string& place : {own, usual}) {
                std::filesystem::create_directories(place);
                if (!mount_over(place.c_str(), "bpf")) return 2;
              }
              if (find_bpf_file_system() != usual || *has_netns_pins()) return 3;
              std::filesystem::create_directories(usual + "/sluice/v1/1");  // another namespace's
              std::filesystem::create_directories(a_pin_in(pins_at(own)));
              if (find_bpf_file_system() != own || !*has_netns_pins()) return 4;
              if (*make_netns_pins("v1") != pins_at(own)) return 5;
              std::filesystem::create_directories(a_pin_in(pins_at(own, "v2")));
              std::filesystem::create_directories(a_pin_in(pins_at(usual)));
              if (find_bpf_file_system() != usual) return 6;
              if (!remove_netns_pins() || *has_netns_pins()) return 7;
              return std::filesystem::exists(usual + "/sluice/v1/1") ? 0 : 8;
            }),
            0);
}

TEST(BpfFileSystem, WhatWasMadeForNothingGoes) {
  EXPECT_EQ(on_a_bare_machine([] {
              if (::unshare(CLONE_NEWNET) != 0) return 1;
              const auto made = make_netns_pins("v1");
              if (!made || !find_bpf_file_system()) return 2;
              if (!remove_empty_netns_pins()) return 3;
              if (find_bpf_file_system()) return 4;
              const auto again = make_netns_pins("v1");
              if (!again) return 5;
              std::filesystem::create_directories(a_pin_in(*again));
              if (!remove_empty_netns_pins()) return 6;
              return *has_netns_pins() ? 0 : 7;
            }),
            0);
}

TEST(BpfPins, KeepAMapWhileNoProcessHasIt) {
  in_own_namespaces(true, [] {
    const std::string path = "/sys/fs/bpf/kept";
    EXPECT_EQ(open_pinned_bpf(path).error().code, Errc::kNotFound);
    {
      const auto made = make_bpf_array("kept", 8, 4);
      ASSERT_TRUE(made) << made.error().what;
      ASSERT_TRUE(pin_bpf(made->get(), path));
      EXPECT_EQ(pin_bpf(made->get(), path).error().code, Errc::kAlreadyExists);
      ASSERT_TRUE(replace_pinned_bpf(made->get(), path));
      const std::uint32_t key = 3;
      const std::uint64_t value = 77;
      ASSERT_TRUE(set_bpf_element(made->get(), &key, &value));
    }
    const auto again = open_pinned_bpf(path);
    ASSERT_TRUE(again) << again.error().what;
    auto memory = BpfMemory::of(again->get(), 8);
    ASSERT_TRUE(memory) << memory.error().what;
    EXPECT_EQ(memory->elements<std::uint64_t>()[3], 77U);
  });
}

TEST(BpfHooks, AProgramIsPutAndReplacedAndTakenOffWhileAnothersStays) {
  in_own_namespaces(true, [] {
    run({"ip", "link", "set", "lo", "up"});
    auto object = BpfObject::open(SLUICE_BPF_IMAGE(nothing));
    ASSERT_TRUE(object) << object.error().what;
    const auto loaded = object->load();
    ASSERT_TRUE(loaded) << loaded.error().what;
    const int first = object->program("sluice_test_nothing");
    const int second = object->program("sluice_test_nothing_else");
    const BpfHookPlace others{1, BpfHook::kIngress, 1, 7};
    const BpfHookPlace ours{1, BpfHook::kIngress, 0x51, 100};
    EXPECT_EQ(*bpf_program_at(ours), 0U) << "no clsact yet";
    ASSERT_TRUE(put_bpf_program(others, first));
    for (const int program : {first, second, second}) {
      const auto put = put_bpf_program(ours, program);
      ASSERT_TRUE(put) << put.error().what;
      EXPECT_EQ(*bpf_program_at(ours), *bpf_program_id(program));
    }
    EXPECT_EQ(*bpf_program_at({1, BpfHook::kEgress, 0x51, 100}), 0U);
    ASSERT_TRUE(remove_bpf_program(ours));
    ASSERT_TRUE(remove_bpf_program(ours)) << "there is none";
    EXPECT_EQ(*bpf_program_at(ours), 0U);
    EXPECT_EQ(*bpf_program_at(others), *bpf_program_id(first));
    EXPECT_EQ(put_bpf_program({4711, BpfHook::kIngress, 1, 1}, first).error().code, Errc::kNotFound);
  });
}

TEST(NetnsCookie, IsAnotherInEveryNamespace) {
  std::uint64_t one = 0;
  std::uint64_t other = 0;
  in_fresh_netns([&] { one = *netns_cookie(); });
  in_fresh_netns([&] { other = *netns_cookie(); });
  EXPECT_NE(one, other);
}

TEST(Devices, AreListedWithWhatTheirPacketsBeginWith) {
  in_fresh_netns([] {
    run({"ip", "link", "add", "b0", "mtu", "1400", "type", "bridge"});
    const auto devices = list_devices();
    ASSERT_TRUE(devices) << devices.error().what;
    ASSERT_EQ(devices->size(), 2U);
    for (const Device& device : *devices) EXPECT_TRUE(device.ethernet) << device.name;
    EXPECT_EQ(*device_mtu("b0"), 1400U);
    EXPECT_EQ(device_mtu("b1").error().code, Errc::kNotFound);
  });
}

}  // namespace
}  // namespace sluice::sys
