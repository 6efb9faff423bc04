// SPDX-License-Identifier: Apache-2.0
#include "sys/bpf_probe.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>

#include <array>
#include <cstring>

#include "base/unique_fd.h"

namespace sluice::sys {

Result<> can_load_bpf() {
  std::array<bpf_insn, 2> program{};
  program[0].code = BPF_ALU64 | BPF_MOV | BPF_K;  // r0 = 0
  program[1].code = BPF_JMP | BPF_EXIT;
  const int fd =
      ::bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "sluice_probe", "Dual BSD/GPL", program.data(), program.size(), nullptr);
  if (fd >= 0) {
    const UniqueFd loaded(fd);
    return {};
  }
  if (fd == -EPERM || fd == -EACCES) {
    return fail(
        Errc::kPermission,
        fmt::format("load a BPF program: {} (it needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN)", std::strerror(-fd)),
        -fd);
  }
  return fail(Errc::kUnsupported,
              fmt::format("this kernel loads no BPF programs of type sched_cls: {}", std::strerror(-fd)), -fd);
}

}  // namespace sluice::sys
