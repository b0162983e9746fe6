# lathe_add_model(NAME name MODEL file-or-folder
#                 [PLAN file] [TARGETS target...] [QUANTIZE rule...] [TOKENIZER file] [OPTIONS option...]
#                 [STATIC | SHARED | OBJECT] [WEIGHTS LINKED | FILE] [RUNNER])
#
# The library target `name`: at build time Lathe::lathe, a program of the build machine, writes the model's sources
# and this project's C compiler compiles them, for whatever machine the project is for. Who links `name` may include
# name.h and name_tokenizer.h.
#
#   PLAN TARGETS QUANTIZE TOKENIZER
#             of `lathe compile`; relative paths count from the current source folder. TARGETS without a value is
#             what `lathe compile` takes on x86-64, aarch64-dotprod and c on AArch64, c on other machines
#   OPTIONS   further options of `lathe compile`, as they stand on its command line
#   STATIC SHARED OBJECT
#             the kind of library; without it BUILD_SHARED_LIBS says
#   WEIGHTS   LINKED (default): in the library, name_init takes them with weights == NULL. FILE: beside it, in the file
#             that the target's property LATHE_WEIGHTS names, to be mapped by the program that calls name_init
#   RUNNER    also the program, target name_runner, file name in the folder LATHE_FOLDER
#
# Properties of the target: LATHE_FOLDER (what lathe writes), LATHE_WEIGHTS (path), PUBLIC_HEADER for install().
# The library is made anew when the model, the plan, its data, the tokenizer, lathe or the arguments change; of the
# sources only those are compiled whose text is another.
include_guard(GLOBAL)
cmake_policy(VERSION 3.20)

# Of a target of `lathe targets --json`: what stands behind the model's name in its source, its flags, whether it is a
# device.
function(_lathe_target table name source flags device)
	string(JSON count LENGTH "${table}" targets)
	math(EXPR last "${count} - 1")
	set(names "")
	foreach(i RANGE ${last})
		string(JSON one GET "${table}" targets ${i})
		string(JSON its_name GET "${one}" name)
		if(its_name STREQUAL name)
			string(JSON its_source GET "${one}" source)
			string(JSON its_flags GET "${one}" flags)
			string(JSON its_device GET "${one}" device)
			separate_arguments(its_flags UNIX_COMMAND "${its_flags}")
			set(${source} "${its_source}" PARENT_SCOPE)
			set(${flags} "${its_flags}" PARENT_SCOPE)
			set(${device} ${its_device} PARENT_SCOPE)
			return()
		endif()
		list(APPEND names ${its_name})
	endforeach()
	list(JOIN names ", " names)
	message(FATAL_ERROR "lathe_add_model: no target '${name}'; there are ${names}")
endfunction()

# A source that takes the bytes of files as they are, found from `folder`; what: the file that changes with them.
function(_lathe_takes_bytes folder source what)
	set_property(SOURCE ${folder}/${source} APPEND PROPERTY COMPILE_OPTIONS "-Wa,-I,${folder}")
	set_property(SOURCE ${folder}/${source} APPEND PROPERTY OBJECT_DEPENDS ${folder}/${what})
endfunction()

function(lathe_add_model)
	cmake_parse_arguments(PARSE_ARGV 0 arg "STATIC;SHARED;OBJECT;RUNNER" "NAME;MODEL;PLAN;TOKENIZER;WEIGHTS"
		"TARGETS;QUANTIZE;OPTIONS")
	if(arg_UNPARSED_ARGUMENTS)
		message(FATAL_ERROR "lathe_add_model: unknown arguments: ${arg_UNPARSED_ARGUMENTS}")
	endif()
	if(NOT arg_NAME OR NOT arg_MODEL)
		message(FATAL_ERROR "lathe_add_model wants NAME and MODEL")
	endif()
	if(NOT arg_NAME MATCHES "^[A-Za-z0-9_][A-Za-z0-9._-]*$")
		message(FATAL_ERROR "lathe_add_model: '${arg_NAME}' cannot name a model: letters, digits, '.', '_', '-'")
	endif()
	if(NOT arg_WEIGHTS)
		set(arg_WEIGHTS LINKED)
	elseif(NOT arg_WEIGHTS MATCHES "^(LINKED|FILE)$")
		message(FATAL_ERROR "lathe_add_model: WEIGHTS is LINKED or FILE, not ${arg_WEIGHTS}")
	endif()
	if(NOT CMAKE_C_COMPILER_ID MATCHES "GNU|Clang")
		message(FATAL_ERROR "lathe_add_model wants gcc or clang as the C compiler of the project"
			" (here: '${CMAKE_C_COMPILER_ID}'; has the project the language C?)")
	endif()
	get_target_property(program Lathe::lathe LOCATION)
	execute_process(COMMAND ${program} targets --json OUTPUT_VARIABLE table COMMAND_ERROR_IS_FATAL ANY)
	if(NOT arg_TARGETS AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
		string(JSON arg_TARGETS GET "${table}" default)
	elseif(NOT arg_TARGETS AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
		set(arg_TARGETS aarch64-dotprod c)
	elseif(NOT arg_TARGETS)
		set(arg_TARGETS c)
	endif()
	string(REPLACE "," ";" arg_TARGETS "${arg_TARGETS}")
	string(JSON flags GET "${table}" cflags)
	separate_arguments(flags UNIX_COMMAND "${flags}")

	set(folder ${CMAKE_CURRENT_BINARY_DIR}/lathe/${arg_NAME})
	set(stamp ${folder}.stamp)
	set(sources ${arg_NAME}.c ${arg_NAME}_tokenizer.c)
	set(loader "")
	foreach(target IN LISTS arg_TARGETS)
		_lathe_target("${table}" ${target} source target_flags device)
		set_source_files_properties(${folder}/${arg_NAME}${source} PROPERTIES COMPILE_OPTIONS "${target_flags}")
		if(device)
			_lathe_takes_bytes(${folder} ${arg_NAME}${source} manifest.json)
			set(loader ${CMAKE_DL_LIBS})
		endif()
		list(APPEND sources ${arg_NAME}${source})
	endforeach()
	_lathe_takes_bytes(${folder} ${arg_NAME}_weights.c ${arg_NAME}.weights)

	# What lathe is given, and what that depends on beside the depfile.
	set(inputs "")
	foreach(input MODEL PLAN TOKENIZER)
		if(NOT arg_${input} OR (input STREQUAL "TOKENIZER" AND arg_TOKENIZER STREQUAL "none"))
			continue()
		endif()
		cmake_path(ABSOLUTE_PATH arg_${input} NORMALIZE)
		if(NOT IS_DIRECTORY ${arg_${input}})
			list(APPEND inputs ${arg_${input}})
		endif()
	endforeach()
	list(JOIN arg_TARGETS "," targets)
	set(command ${arg_MODEL} -o ${folder} --target ${targets})
	if(arg_PLAN)
		list(APPEND command --plan ${arg_PLAN})
	endif()
	if(arg_TOKENIZER)
		list(APPEND command --tokenizer ${arg_TOKENIZER})
	endif()
	foreach(rule IN LISTS arg_QUANTIZE)
		list(APPEND command --quantize ${rule})
	endforeach()
	list(APPEND command ${arg_OPTIONS} --emit=c --quiet)

	# Make does not see that a command has changed: this file has it, and is written when it is another.
	list(JOIN command "\n" words)
	file(GENERATE OUTPUT ${folder}.command CONTENT "${words}\n")
	set(made ${sources} ${arg_NAME}.h ${arg_NAME}_tokenizer.h ${arg_NAME}_internal.h ${arg_NAME}_weights.c
		${arg_NAME}_main.c ${arg_NAME}.weights manifest.json)
	list(TRANSFORM made PREPEND ${folder}/)
	add_custom_command(OUTPUT ${stamp} BYPRODUCTS ${made}
		COMMAND Lathe::lathe compile ${command} --depfile-target ${stamp}
		COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
		DEPENDS Lathe::lathe ${inputs} ${folder}.command
		DEPFILE ${folder}/${arg_NAME}.d
		COMMENT "lathe compile ${arg_NAME}"
		VERBATIM)
	# A target of its own comes in front of all compiling, with every generator.
	add_custom_target(${arg_NAME}_sources DEPENDS ${stamp})

	set(kind "")
	foreach(one STATIC SHARED OBJECT)
		if(arg_${one})
			list(APPEND kind ${one})
		endif()
	endforeach()
	if(arg_WEIGHTS STREQUAL "LINKED")
		list(APPEND sources ${arg_NAME}_weights.c)
	endif()
	list(TRANSFORM sources PREPEND ${folder}/)
	add_library(${arg_NAME} ${kind} ${sources})
	add_dependencies(${arg_NAME} ${arg_NAME}_sources)
	set_source_files_properties(${made} PROPERTIES GENERATED TRUE)
	target_compile_options(${arg_NAME} PRIVATE ${flags})
	set_target_properties(${arg_NAME} PROPERTIES LINKER_LANGUAGE C C_STANDARD 99 C_EXTENSIONS OFF
		LATHE_FOLDER ${folder} LATHE_WEIGHTS ${folder}/${arg_NAME}.weights
		PUBLIC_HEADER "${folder}/${arg_NAME}.h;${folder}/${arg_NAME}_tokenizer.h")
	target_include_directories(${arg_NAME} PUBLIC $<BUILD_INTERFACE:${folder}> $<INSTALL_INTERFACE:include>)
	if(arg_WEIGHTS STREQUAL "LINKED")
		target_compile_definitions(${arg_NAME} PRIVATE LATHE_WEIGHTS_LINKED)
	endif()
	target_link_libraries(${arg_NAME} PRIVATE ${loader})

	if(arg_RUNNER)
		# In the folder of the artefact, where it looks for weights and for models of devices.
		set(THREADS_PREFER_PTHREAD_FLAG ON)
		find_package(Threads REQUIRED)
		add_executable(${arg_NAME}_runner ${folder}/${arg_NAME}_main.c)
		target_compile_options(${arg_NAME}_runner PRIVATE ${flags})
		target_link_libraries(${arg_NAME}_runner PRIVATE ${arg_NAME} Threads::Threads m)
		set_target_properties(${arg_NAME}_runner PROPERTIES OUTPUT_NAME ${arg_NAME} C_STANDARD 99
			C_EXTENSIONS OFF RUNTIME_OUTPUT_DIRECTORY $<1:${folder}>)
		add_dependencies(${arg_NAME}_runner ${arg_NAME}_sources)
	endif()
endfunction()
