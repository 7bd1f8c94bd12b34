/* SPDX-License-Identifier: MIT */
/* The byte code's operations. What each does is in the interpreter; d is written, a, b, c, e are read. */
#ifndef SOFTGPU_PTX_OPS_H
#define SOFTGPU_PTX_OPS_H

#define PTX_OPS(X)                                                                                                     \
	/* integers, two operands */                                                                                   \
	X(ADD16) X(ADD32) X(ADD64) X(SUB16) X(SUB32) X(SUB64) X(MUL16) X(MUL32) X(MUL64)                               \
	X(ADDSAT) X(SUBSAT)                                                                                            \
	X(MULHIS16) X(MULHIU16) X(MULHIS32) X(MULHIU32) X(MULHIS64) X(MULHIU64)                                        \
	X(MULWIDES16) X(MULWIDEU16) X(MULWIDES32) X(MULWIDEU32) X(MUL24S) X(MUL24U)                                    \
	X(DIVS16) X(DIVU16) X(DIVS32) X(DIVU32) X(DIVS64) X(DIVU64)                                                    \
	X(REMS16) X(REMU16) X(REMS32) X(REMU32) X(REMS64) X(REMU64)                                                    \
	X(AND32) X(AND64) X(OR32) X(OR64) X(XOR32) X(XOR64)                                                            \
	X(SHL16) X(SHL32) X(SHL64) X(SHRU16) X(SHRU32) X(SHRU64) X(SHRS16) X(SHRS32) X(SHRS64)                         \
	X(MINS16) X(MINU16) X(MINS32) X(MINU32) X(MINS64) X(MINU64)                                                    \
	X(MAXS16) X(MAXU16) X(MAXS32) X(MAXU32) X(MAXS64) X(MAXU64)                                                    \
	X(BMSKC) X(BMSKW)                                                                                              \
	/* one */                                                                                                      \
	X(NOT16) X(NOT32) X(NOT64) X(NEG16) X(NEG32) X(NEG64) X(ABS16) X(ABS32) X(ABS64)                               \
	X(POPC32) X(POPC64) X(CLZ32) X(CLZ64) X(BREV32) X(BREV64)                                                      \
	X(FINDU32) X(FINDS32) X(FINDU64) X(FINDS64)                                                                    \
	/* three and four */                                                                                           \
	X(MAD16) X(MAD32) X(MAD64) X(MADHIS16) X(MADHIU16) X(MADHIS32) X(MADHIU32) X(MADHIS64) X(MADHIU64)             \
	X(MADWIDES16) X(MADWIDEU16) X(MADWIDES32) X(MADWIDEU32)                                                        \
	X(BFEU32) X(BFES32) X(BFEU64) X(BFES64) X(BFI32) X(BFI64) X(PRMT)                                              \
	X(SHFLEFTW) X(SHFLEFTC) X(SHFRIGHTW) X(SHFRIGHTC) X(LOP3) X(DP4A) X(ABSDIFF4) X(FNS) X(DP2A) X(SADS32) X(SADU32)                  \
	X(SADS16) X(SADU16) X(SADS64) X(SADU64)                                                                        \
	X(CARRY32) X(CARRY64)                                                                                          \
	/* floats */                                                                                                   \
	X(FADD32) X(FSUB32) X(FMUL32) X(FFMA32) X(FMIN32) X(FMAX32) X(FNEG32) X(FABS32) X(FDIV32)                      \
	X(FADD64) X(FSUB64) X(FMUL64) X(FFMA64) X(FMIN64) X(FMAX64) X(FNEG64) X(FABS64) X(FDIV64)                      \
	X(FRSQRT32) X(FEXP32)                                                                                          \
	X(FLOAT32) X(FLOAT64) X(HALF) X(HALF2)                                                                         \
	/* comparisons: x inverts */                                                                                   \
	X(CMPEQ32) X(CMPEQ64) X(CMPLTS16) X(CMPLES16) X(CMPLTS32) X(CMPLES32) X(CMPLTU32) X(CMPLEU32)                  \
	X(CMPLTS64) X(CMPLES64) X(CMPLTU64) X(CMPLEU64)                                                                \
	X(CMPEQF32) X(CMPNEF32) X(CMPLTF32) X(CMPLEF32) X(CMPNUMF32)                                                   \
	X(CMPEQF64) X(CMPNEF64) X(CMPLTF64) X(CMPLEF64) X(CMPNUMF64)                                                   \
	X(PAND) X(POR) X(PXOR) X(PNOT) X(PMOV) X(SELP32) X(SELP64) X(SLCT32) X(SLCT64) X(TESTP32) X(TESTP64)           \
	/* moves and conversions */                                                                                    \
	X(MOV32) X(MOV64) X(PACK) X(UNPACK) X(SPECIAL) X(LOCALADDRESS)                                                 \
	X(ZEXT32) X(SEXT32) X(TRUNC64) X(EXT8S) X(EXT16S) X(TRUNC8) X(TRUNC16)                                         \
	X(CVTF32S32) X(CVTF32U32) X(CVTF32F64) X(CVTF64F32) X(CVTF64S32) X(CVTS32F32) X(CVTINT) X(CVT) X(CVTX2)        \
	/* memory */                                                                                                   \
	X(LDGLOBAL) X(LDSHARED) X(LDLOCAL) X(LDPARAM) X(STGLOBAL) X(STSHARED) X(STLOCAL)                               \
	X(LOCALCOPY) X(ASYNCCOPY) X(ATOMGLOBAL) X(ATOMSHARED) X(FENCE) X(ISSPACE) X(PREFETCH)                                       \
	/* warps and blocks */                                                                                         \
	X(SHUFFLE) X(VOTE) X(MATCH) X(REDUX) X(ACTIVEMASK) X(WARPBARRIER) X(BARRIER) X(ELECT)                          \
	/* control */                                                                                                  \
	X(JOIN) X(JUMP) X(BRANCH) X(SWITCH) X(CALL) X(CALLTHROUGH) X(BUILTIN) X(RETURN) X(EXIT) X(TRAP) X(SLEEP)       \
	X(NOP)

enum ptx_opcode {
#define X(name) OP_##name,
	PTX_OPS(X)
#undef X
	OP_COUNT,
};

/* CARRY*: y */
enum ptx_carry {
	CARRY_ADD,
	CARRY_SUB,
	CARRY_MADLO,
	CARRY_MADHI,
	CARRY_SIGNED = 4, /* mad.hi of signed numbers */
	CARRY_IN = 8,
	CARRY_OUT = 16,
};

/* FLOAT32, FLOAT64, HALF, HALF2: y */
enum ptx_float {
	FLOAT_ADD,
	FLOAT_SUB,
	FLOAT_MUL,
	FLOAT_FMA,
	FLOAT_DIV,
	FLOAT_MIN,
	FLOAT_MAX,
	FLOAT_ABS,
	FLOAT_NEG,
	FLOAT_SQRT,
	FLOAT_RCP,
	FLOAT_RSQRT,
	FLOAT_SIN,
	FLOAT_COS,
	FLOAT_LG2,
	FLOAT_EX2,
	FLOAT_TANH,
	FLOAT_COPYSIGN,
	FLOAT_RCP_APPROX64, /* of the upper half alone */
	FLOAT_RSQRT_APPROX64,
};

/* Rounding; with FLAG_* the x of float operations, and of conversions. */
enum ptx_round {
	ROUND_NEAREST,
	ROUND_ZERO,
	ROUND_DOWN,
	ROUND_UP,
	ROUND_AWAY, /* ties away from zero: cvt.rna */
	ROUND_MASK = 7,
	FLAG_FTZ = 8,
	FLAG_SAT = 16,
	FLAG_NAN = 32,	  /* min and max give NaN if one is */
	FLAG_BF16 = 64,	  /* HALF*: bfloat16 */
	FLAG_RELU = 128,
	FLAG_XORSIGN = 64, /* FLOAT32 min and max */
};

/* Conversions: what imm says of both sides */
enum ptx_number { NUMBER_UNSIGNED, NUMBER_SIGNED, NUMBER_F16, NUMBER_BF16, NUMBER_F32, NUMBER_F64, NUMBER_TF32 };

/* ATOM*: y; imm >> 32 and op.x tell the type */
enum ptx_atomic {
	ATOMIC_ADD,
	ATOMIC_MIN,
	ATOMIC_MAX,
	ATOMIC_INC,
	ATOMIC_DEC,
	ATOMIC_AND,
	ATOMIC_OR,
	ATOMIC_XOR,
	ATOMIC_EXCH,
	ATOMIC_CAS,
};

enum ptx_special {
	SPECIAL_TID_X,
	SPECIAL_TID_Y,
	SPECIAL_TID_Z,
	SPECIAL_NTID_X,
	SPECIAL_NTID_Y,
	SPECIAL_NTID_Z,
	SPECIAL_CTAID_X,
	SPECIAL_CTAID_Y,
	SPECIAL_CTAID_Z,
	SPECIAL_NCTAID_X,
	SPECIAL_NCTAID_Y,
	SPECIAL_NCTAID_Z,
	SPECIAL_LANEID,
	SPECIAL_WARPID,
	SPECIAL_NWARPID,
	SPECIAL_SMID,
	SPECIAL_NSMID,
	SPECIAL_GRIDID,
	SPECIAL_LANEMASK_EQ,
	SPECIAL_LANEMASK_LE,
	SPECIAL_LANEMASK_LT,
	SPECIAL_LANEMASK_GE,
	SPECIAL_LANEMASK_GT,
	SPECIAL_CLOCK,
	SPECIAL_CLOCK_HI,
	SPECIAL_CLOCK64,
	SPECIAL_GLOBALTIMER,
	SPECIAL_GLOBALTIMER_LO,
	SPECIAL_GLOBALTIMER_HI,
	SPECIAL_TOTAL_SHARED,
	SPECIAL_DYNAMIC_SHARED,
	SPECIAL_ZERO,
	SPECIAL_ONE,
	SPECIAL_WARP_SIZE,
};

enum ptx_shuffle { SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_BFLY, SHUFFLE_IDX };
enum ptx_vote { VOTE_ALL, VOTE_ANY, VOTE_UNI, VOTE_BALLOT };
enum ptx_barrier { BARRIER_SYNC, BARRIER_ARRIVE, BARRIER_POPC, BARRIER_AND, BARRIER_OR };

#endif /* SOFTGPU_PTX_OPS_H */
