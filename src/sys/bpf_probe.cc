// SPDX-License-Identifier: Apache-2.0
#include "sys/bpf_probe.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"

namespace sluice::sys {
namespace {

tl::unexpected<Error> not_permitted(int error) {
  return fail(
      Errc::kPermission,
      fmt::format("load a BPF program: {} (it needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN)", std::strerror(error)),
      error);
}

// Of the calling thread. True where that cannot be known: the kernel will say.
bool has_capability(unsigned capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
  if (::syscall(SYS_capget, &header, sets.data()) != 0) return true;
  return (sets.at(capability / 32).effective >> (capability % 32) & 1U) != 0;
}

}  // namespace

bool may_administer_system() {
  return has_capability(CAP_SYS_ADMIN);
}

Result<> can_load_bpf() {
  std::array<bpf_insn, 2> program{};
  program[0].code = BPF_ALU64 | BPF_MOV | BPF_K;  // r0 = 0
  program[1].code = BPF_JMP | BPF_EXIT;
  const int fd =
      ::bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "sluice_probe", "Dual BSD/GPL", program.data(), program.size(), nullptr);
  if (fd >= 0) {
    const UniqueFd loaded(fd);
    // Without it the verifier refuses arithmetic on pointers, with words that do not name it.
    if (!has_capability(CAP_PERFMON) && !may_administer_system()) return not_permitted(EPERM);
    return {};
  }
  if (fd == -EPERM || fd == -EACCES) return not_permitted(-fd);
  return fail(Errc::kUnsupported,
              fmt::format("this kernel loads no BPF programs of type sched_cls: {}", std::strerror(-fd)), -fd);
}

}  // namespace sluice::sys
